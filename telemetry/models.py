"""The door through which Django finds this app's models."""

from telemetry.cus_analytics_models import CusRollupRun, CusUsageDaily
from telemetry.cus_models import (
    CusCallLedger,
    CusCostAdjustment,
    CusKeptPrice,
    CusLifetimeTotals,
    CusLLMUsage,
)

__all__ = [
    "CusCallLedger",
    "CusCostAdjustment",
    "CusKeptPrice",
    "CusLLMUsage",
    "CusLifetimeTotals",
    "CusRollupRun",
    "CusUsageDaily",
]
