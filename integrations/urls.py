"""Routes of authority, below /api/v1/cus/."""

from django.urls import path

from integrations.cus_access.api import TokensView, TokenView
from integrations.cus_currency.api import DisplayRatesView
from integrations.cus_health.api import HealthView, TestView
from integrations.cus_increases.api import (
    ApproveView,
    IncreaseRequestsView,
    RefuseView,
    WithdrawView,
)
from integrations.cus_integrations.api import (
    DisableView,
    EnableView,
    IntegrationsView,
    IntegrationView,
)
from integrations.cus_keys.api import SdkKeysView, SdkKeyView
from integrations.cus_limits.api import ScopedLimitsView, ScopedLimitView
from integrations.cus_notifications.api import (
    DeliveriesView,
    MutedView,
    TargetSecretView,
    TargetsView,
    TargetTestView,
    TargetView,
)
from integrations.cus_prices.api import PriceOverridesView, PricePreviewView
from integrations.cus_stops.api import StopsView, StopView
from integrations.cus_tenancy.api import MembersView, MemberView, TenantView

_ONE = "integrations/<uuid:integration_id>"
_TARGET = "notifications/targets/<uuid:target_id>"

urlpatterns = [
    path("integrations", IntegrationsView.as_view(), name="cus-integrations"),
    path(_ONE, IntegrationView.as_view(), name="cus-integration"),
    path(f"{_ONE}/enable", EnableView.as_view(), name="cus-integration-enable"),
    path(f"{_ONE}/disable", DisableView.as_view(), name="cus-integration-disable"),
    path(f"{_ONE}/health", HealthView.as_view(), name="cus-integration-health"),
    path(f"{_ONE}/test", TestView.as_view(), name="cus-integration-test"),
    path(f"{_ONE}/keys", SdkKeysView.as_view(), name="cus-sdk-keys"),
    path(f"{_ONE}/keys/<uuid:key_id>", SdkKeyView.as_view(), name="cus-sdk-key"),
    path(f"{_ONE}/scoped-limits", ScopedLimitsView.as_view(), name="cus-scoped-limits"),
    path(
        f"{_ONE}/scoped-limits/<uuid:limit_id>", ScopedLimitView.as_view(), name="cus-scoped-limit"
    ),
    path(f"{_ONE}/stops", StopsView.as_view(), name="cus-stops"),
    path(f"{_ONE}/stops/<uuid:stop_id>", StopView.as_view(), name="cus-stop"),
    path("increase-requests", IncreaseRequestsView.as_view(), name="cus-increase-requests"),
    path(
        "increase-requests/<uuid:request_id>/approve",
        ApproveView.as_view(),
        name="cus-increase-approve",
    ),
    path(
        "increase-requests/<uuid:request_id>/refuse",
        RefuseView.as_view(),
        name="cus-increase-refuse",
    ),
    path(
        "increase-requests/<uuid:request_id>/withdraw",
        WithdrawView.as_view(),
        name="cus-increase-withdraw",
    ),
    path("members", MembersView.as_view(), name="cus-members"),
    path("members/<uuid:member_id>", MemberView.as_view(), name="cus-member"),
    path("display-rates", DisplayRatesView.as_view(), name="cus-display-rates"),
    path("notifications/targets", TargetsView.as_view(), name="cus-notification-targets"),
    path(_TARGET, TargetView.as_view(), name="cus-notification-target"),
    path(f"{_TARGET}/test", TargetTestView.as_view(), name="cus-notification-target-test"),
    path(f"{_TARGET}/rotate", TargetSecretView.as_view(), name="cus-notification-target-rotate"),
    path("notifications/deliveries", DeliveriesView.as_view(), name="cus-notification-deliveries"),
    path("notifications/muted", MutedView.as_view(), name="cus-notifications-muted"),
    path("price-overrides", PriceOverridesView.as_view(), name="cus-price-overrides"),
    path("price-overrides/preview", PricePreviewView.as_view(), name="cus-price-preview"),
    path("tenant", TenantView.as_view(), name="cus-tenant"),
    path("tokens", TokensView.as_view(), name="cus-tokens"),
    path("tokens/<uuid:token_id>", TokenView.as_view(), name="cus-token"),
]
