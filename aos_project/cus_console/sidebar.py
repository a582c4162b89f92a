"""The console's sidebar: the pages that the person may open, in groups."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

# Group, then (title, icon, page).
_GROUPS = (
    (
        "Governance",
        (
            ("Integrations", "hub", "integrations_cusintegration"),
            ("SDK keys", "key", "integrations_cussdkkey"),
            ("Health history", "monitor_heart", "integrations_cushealthtransition"),
            ("Stops", "block", "integrations_cusstop"),
            ("Price overrides", "sell", "integrations_cuspriceoverride"),
            ("Display rates", "currency_exchange", "integrations_cusdisplayrate"),
        ),
    ),
    (
        "Usage",
        (
            ("Usage records", "receipt_long", "telemetry_cusllmusage"),
            ("Decisions", "gavel", "enforcement_cusenforcementdecision"),
            ("Cost corrections", "balance", "telemetry_cuscostadjustment"),
            ("Bypass reports", "alt_route", "telemetry_cusbypassreport"),
        ),
    ),
    (
        "People",
        (
            ("Tenants", "apartment", "integrations_custenant"),
            ("Members", "group", "integrations_cusmembership"),
            ("Everybody", "badge", "integrations_cususer"),
            ("API tokens", "vpn_key", "integrations_cusapitoken"),
            ("Audit trail", "history", "integrations_cusauditentry"),
        ),
    ),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups with the pages that the person may open, without empty groups."""
    open_pages = {
        f"{model._meta.app_label}_{model._meta.model_name}"
        for model, page in admin.site._registry.items()  # noqa: SLF001  (it has no other door)
        if page.has_view_permission(request)
    }
    home = {"title": "Home", "icon": "home", "link": reverse("admin:index"), "permission": None}
    groups: list[dict[str, Any]] = [{"items": [home]}]
    for title, pages in _GROUPS:
        items = [_item(*page) for page in pages if page[2] in open_pages]
        if items:
            groups.append({"title": title, "separator": True, "items": items})
    return groups


def account(_request: HttpRequest) -> list[dict[str, Any]]:
    """The links below the person's own name."""
    return [
        {"title": "Second factor", "link": reverse("cus-second-factor-setup")},
        {"title": "Recovery codes", "link": reverse("cus-recovery-codes")},
        {"title": "Sessions and tokens", "link": reverse("cus-sessions")},
    ]


def _item(title: str, icon: str, page: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse(f"admin:{page}_changelist")}
