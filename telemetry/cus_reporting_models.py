"""Where a migration looks for the field of ranges. Nothing else imports this module."""

from telemetry.cus_delivery.models import RangesField

__all__ = ["RangesField"]
