"""Routes of authority, below /api/v1/cus/."""

from django.urls import path

from integrations.cus_price_overrides_api import PriceOverridesView

urlpatterns = [
    path("price-overrides", PriceOverridesView.as_view(), name="cus-price-overrides"),
]
