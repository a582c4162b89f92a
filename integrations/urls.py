"""Routes of authority, below /api/v1/cus/."""

from django.urls import path

from integrations.cus_health_api import HealthView, TestView
from integrations.cus_price_overrides_api import PriceOverridesView

urlpatterns = [
    path("integrations/<uuid:integration_id>/health", HealthView.as_view(), name="cus-health"),
    path("integrations/<uuid:integration_id>/test", TestView.as_view(), name="cus-health-test"),
    path("price-overrides", PriceOverridesView.as_view(), name="cus-price-overrides"),
]
