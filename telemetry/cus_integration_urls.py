"""Routes about one integration that read evidence, below /api/v1/cus/integrations/."""

from django.urls import path

from telemetry.cus_holds.limits_api import LimitsView

urlpatterns = [
    path("<uuid:integration_id>/limits", LimitsView.as_view(), name="cus-integration-limits"),
]
