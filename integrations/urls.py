"""Routes of authority, below /api/v1/cus/."""

from django.urls import path

from integrations.cus_price_overrides_api import PriceOverridesView
from integrations.cus_tokens_api import TokensView, TokenView

urlpatterns = [
    path("price-overrides", PriceOverridesView.as_view(), name="cus-price-overrides"),
    path("tokens", TokensView.as_view(), name="cus-tokens"),
    path("tokens/<uuid:token_id>", TokenView.as_view(), name="cus-token"),
]
