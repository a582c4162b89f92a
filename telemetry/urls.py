"""Routes of telemetry, below /api/v1/cus/telemetry/."""

from django.urls import path

from telemetry.cus_coverage.api import BypassView
from telemetry.cus_delivery.gaps_api import GapsView
from telemetry.cus_evidence.api import LlmUsageBatchView
from telemetry.cus_reads.api import UsageDailyView, UsageHourlyView, UsageSummaryView
from telemetry.cus_reads.usage_door import LlmUsageDoor

urlpatterns = [
    path("gaps", GapsView.as_view(), name="cus-gaps"),
    path("llm-usage", LlmUsageDoor.as_view(), name="cus-llm-usage"),
    path("llm-usage/summary", UsageSummaryView.as_view(), name="cus-llm-usage-summary"),
    path("usage-daily", UsageDailyView.as_view(), name="cus-usage-daily"),
    path("usage-hourly", UsageHourlyView.as_view(), name="cus-usage-hourly"),
    path("llm-usage/batch", LlmUsageBatchView.as_view(), name="cus-llm-usage-batch"),
    path("bypass", BypassView.as_view(), name="cus-bypass"),
]
