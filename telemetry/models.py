"""The door through which Django finds this app's models."""

from telemetry.cus_analytics_models import CusRollupRun, CusUsageDaily
from telemetry.cus_bypass_models import CusBypassHour, CusBypassReport
from telemetry.cus_models import (
    CusCallLedger,
    CusCostAdjustment,
    CusEnforcementHold,
    CusEnforcementLease,
    CusKeptPrice,
    CusLifetimeTotals,
    CusLLMUsage,
    CusPeriodTotals,
)

__all__ = [
    "CusBypassHour",
    "CusBypassReport",
    "CusCallLedger",
    "CusCostAdjustment",
    "CusEnforcementHold",
    "CusEnforcementLease",
    "CusKeptPrice",
    "CusLLMUsage",
    "CusLifetimeTotals",
    "CusPeriodTotals",
    "CusRollupRun",
    "CusUsageDaily",
]
