"""Routes of telemetry, below /api/v1/cus/telemetry/."""

from django.urls import path

from telemetry.cus_coverage.api import BypassView
from telemetry.cus_delivery.gaps_api import GapsView
from telemetry.cus_evidence.api import LlmUsageBatchView, LlmUsageView

urlpatterns = [
    path("gaps", GapsView.as_view(), name="cus-gaps"),
    path("llm-usage", LlmUsageView.as_view(), name="cus-llm-usage"),
    path("llm-usage/batch", LlmUsageBatchView.as_view(), name="cus-llm-usage-batch"),
    path("bypass", BypassView.as_view(), name="cus-bypass"),
]
