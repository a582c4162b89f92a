"""Re-exports the field of ranges for a migration. No other module imports this one."""

from telemetry.cus_delivery.models import RangesField

__all__ = ["RangesField"]
