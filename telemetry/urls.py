"""Routes of telemetry, below /api/v1/cus/telemetry/."""

from django.urls import path

from telemetry.cus_coverage.api import BypassView
from telemetry.cus_delivery.gaps_api import GapsView
from telemetry.cus_evidence.api import LlmUsageBatchView
from telemetry.cus_focus.api import FocusView
from telemetry.cus_reads.api import (
    UsageAnomaliesView,
    UsageDailyView,
    UsageHourlyView,
    UsageSummaryView,
)
from telemetry.cus_reads.usage_door import LlmUsageDoor
from telemetry.cus_statements.api import MonthCloseView, MonthInvoicesView

urlpatterns = [
    path("anomalies", UsageAnomaliesView.as_view(), name="cus-anomalies"),
    path("focus", FocusView.as_view(), name="cus-focus"),
    path("gaps", GapsView.as_view(), name="cus-gaps"),
    path("llm-usage", LlmUsageDoor.as_view(), name="cus-llm-usage"),
    path("llm-usage/summary", UsageSummaryView.as_view(), name="cus-llm-usage-summary"),
    path("usage-daily", UsageDailyView.as_view(), name="cus-usage-daily"),
    path("usage-hourly", UsageHourlyView.as_view(), name="cus-usage-hourly"),
    path("llm-usage/batch", LlmUsageBatchView.as_view(), name="cus-llm-usage-batch"),
    path("months/<month:month>/close", MonthCloseView.as_view(), name="cus-month-close"),
    path("months/<month:month>/invoices", MonthInvoicesView.as_view(), name="cus-month-invoices"),
    path("bypass", BypassView.as_view(), name="cus-bypass"),
]
