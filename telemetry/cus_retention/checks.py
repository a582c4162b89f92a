"""System check: retention keeps three months at least (ruling E5)."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from telemetry.cus_evidence.partitions import LEAST_KEPT_MONTHS


@register()
def check_retention(**_kwargs: Any) -> list[CheckMessage]:
    """`CUS_RETENTION_MONTHS` is 0 (keep everything), or 3 and more."""
    months = settings.CUS_RETENTION_MONTHS
    if months == 0 or months >= LEAST_KEPT_MONTHS:
        return []
    return [
        Error(
            f"CUS_RETENTION_MONTHS is {months}, and usage rows are kept for three months at least.",
            hint="Set 0 to keep every month, or 3 or more.",
            id="cus.E006",
        )
    ]
