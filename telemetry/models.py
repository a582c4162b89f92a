"""The door through which Django finds this app's models."""

from telemetry.cus_analytics.models import CusRollupRun, CusUsageDaily
from telemetry.cus_coverage.models import CusBypassHour, CusBypassReport, CusCallMark
from telemetry.cus_delivery.models import CusReportingProcess, CusSequenceFold
from telemetry.cus_evidence.models import (
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
