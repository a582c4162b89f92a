"""Routes about one integration that read evidence, below /api/v1/cus/integrations/."""

from django.urls import path

from telemetry.cus_holds.limits_api import LimitsView
from telemetry.cus_run_budgets.api import RunLimitsView, RunLimitView

_ONE = "<uuid:integration_id>"

urlpatterns = [
    path(f"{_ONE}/limits", LimitsView.as_view(), name="cus-integration-limits"),
    path(f"{_ONE}/run-limits", RunLimitsView.as_view(), name="cus-integration-run-limits"),
    # A session's name may have slashes.
    path(
        f"{_ONE}/run-limits/<path:session_id>",
        RunLimitView.as_view(),
        name="cus-integration-run-limit",
    ),
]
