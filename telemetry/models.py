"""Imports this app's models, because Django looks for them here."""

from telemetry.cus_analytics.models import (
    CusCostForecast,
    CusReconcileDifference,
    CusReconcileRun,
    CusRollupDue,
    CusRollupRun,
    CusUsageAnomaly,
    CusUsageDaily,
    CusUsageDayGroup,
    CusUsageHourly,
)
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_coverage.models import CusBypassHour, CusBypassReport, CusCallMark
from telemetry.cus_delivery.models import CusReportingProcess, CusSequenceFold
from telemetry.cus_evidence.admission_models import CusLandedAdmissions, CusRunningAdmissions
from telemetry.cus_evidence.models import (
    CusCallAlias,
    CusCallLedger,
    CusDroppedMonth,
    CusLifetimeTotals,
    CusLLMUsage,
    CusOutcomeTotals,
    CusPeriodTotals,
    CusUsageSettlement,
)
from telemetry.cus_holds.limit_models import (
    CusLimitAllotment,
    CusLimitHolds,
    CusLimitTotals,
    CusRunLimit,
    CusRunLimitCount,
)
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease, CusHoldSums
from telemetry.cus_money.models import CusKeptPrice
from telemetry.cus_seals.models import CusEvidenceSeal
from telemetry.cus_signals.models import CusModelSeries
from telemetry.cus_statements.models import CusMonthStatement, CusProviderInvoice

__all__ = [
    "CusBypassHour",
    "CusBypassReport",
    "CusCallAlias",
    "CusCallLedger",
    "CusCallMark",
    "CusCostAdjustment",
    "CusCostForecast",
    "CusDroppedMonth",
    "CusEnforcementHold",
    "CusEnforcementLease",
    "CusEvidenceSeal",
    "CusHoldSums",
    "CusKeptPrice",
    "CusLLMUsage",
    "CusLandedAdmissions",
    "CusLifetimeTotals",
    "CusLimitAllotment",
    "CusLimitHolds",
    "CusLimitTotals",
    "CusModelSeries",
    "CusMonthStatement",
    "CusOutcomeTotals",
    "CusPeriodTotals",
    "CusProviderInvoice",
    "CusReconcileDifference",
    "CusReconcileRun",
    "CusReportingProcess",
    "CusRollupDue",
    "CusRollupRun",
    "CusRunLimit",
    "CusRunLimitCount",
    "CusRunningAdmissions",
    "CusSequenceFold",
    "CusUsageAnomaly",
    "CusUsageDaily",
    "CusUsageDayGroup",
    "CusUsageHourly",
    "CusUsageSettlement",
]
