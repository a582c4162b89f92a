"""The door through which Django finds this app's models."""

from telemetry.cus_analytics_models import CusRollupRun, CusUsageDaily
from telemetry.cus_bypass_models import CusBypassHour, CusBypassReport, CusCallMark
from telemetry.cus_models import (
    CusCallLedger,
    CusCostAdjustment,
    CusEnforcementHold,
    CusEnforcementLease,
    CusHoldSums,
    CusKeptPrice,
    CusLifetimeTotals,
    CusLLMUsage,
    CusPeriodTotals,
)
from telemetry.cus_reporting_models import CusReportingProcess, CusSequenceFold

__all__ = [
    "CusBypassHour",
    "CusBypassReport",
    "CusCallLedger",
    "CusCallMark",
    "CusCostAdjustment",
    "CusEnforcementHold",
    "CusEnforcementLease",
    "CusHoldSums",
    "CusKeptPrice",
    "CusLLMUsage",
    "CusLifetimeTotals",
    "CusPeriodTotals",
    "CusReportingProcess",
    "CusRollupRun",
    "CusSequenceFold",
    "CusUsageDaily",
]
