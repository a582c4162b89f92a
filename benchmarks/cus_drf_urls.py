"""The product's two addresses, answered by the plain endpoint."""

from django.urls import path

from aos_sdk.cus_wire import LLM_USAGE_BATCH_PATH, LLM_USAGE_PATH
from benchmarks.cus_drf_api import PlainUsageBatchView, PlainUsageView

urlpatterns = [
    path(LLM_USAGE_PATH.lstrip("/"), PlainUsageView.as_view()),
    path(LLM_USAGE_BATCH_PATH.lstrip("/"), PlainUsageBatchView.as_view()),
]
