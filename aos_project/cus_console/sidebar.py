"""The console's sidebar: the pages that the person may open, in groups."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from aos_project.cus_console.pages import PAGES
from integrations.cus_accounts.permissions import role_of

_MONEY = "Money"
# Group, then (title, icon, page): a model's list, or the route of one of the console's own pages.
_GROUPS = (
    (
        "Watch",
        (
            ("Integrations", "hub", "integrations_cusintegration"),
            ("Usage", "receipt_long", "telemetry_cusllmusage"),
            ("Decisions", "gavel", "enforcement_cusenforcementdecision"),
        ),
    ),
    (
        _MONEY,
        (
            ("Cost", "payments", "cus-cost"),
            ("Statement", "request_quote", "cus-statement-now"),
            ("Prices", "sell", "integrations_cuspriceoverride"),
            ("Display rates", "currency_exchange", "integrations_cusdisplayrate"),
            ("Corrections", "balance", "telemetry_cuscostadjustment"),
        ),
    ),
    (
        "Control",
        (
            ("Limits", "speed", "integrations_cusscopedlimit"),
            ("Increase requests", "trending_up", "integrations_cusincreaserequest"),
            ("Stops", "block", "integrations_cusstop"),
            ("SDK keys", "key", "integrations_cussdkkey"),
            ("Notification targets", "notifications", "integrations_cusnotificationtarget"),
            ("Deliveries", "outgoing_mail", "integrations_cusnotificationdelivery"),
        ),
    ),
    (
        "People",
        (
            ("Tenants", "apartment", "integrations_custenant"),
            ("Members", "group", "integrations_cusmembership"),
            ("People", "badge", "integrations_cususer"),
            ("API tokens", "vpn_key", "integrations_cusapitoken"),
        ),
    ),
    (
        "Proof",
        (
            ("Audit trail", "history", "integrations_cusauditentry"),
            ("Coverage and gaps", "rule", "cus-coverage"),
            ("Bypass reports", "alt_route", "telemetry_cusbypassreport"),
            ("Health history", "monitor_heart", "integrations_cushealthtransition"),
            ("Seals", "verified", "cus-seals"),
        ),
    ),
    (None, (("System", "settings_heart", "cus-system"),)),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups with the pages that the person may open, without empty groups.

    Finance's first group is the money.
    """
    addresses = _open_to(request)
    first = [{"title": "Home", "icon": "home", "link": reverse("admin:index")}]
    if "cus-start" in addresses:
        first.append({"title": "Connect", "icon": "add_link", "link": addresses["cus-start"]})
    groups: list[dict[str, Any]] = [{"items": first}]
    for title, pages in sorted(_GROUPS, key=lambda group: _place(request, group[0])):
        items = [
            {"title": name, "icon": icon, "link": addresses[page]}
            for name, icon, page in pages
            if page in addresses
        ]
        if items:
            groups.append({"title": title, "separator": True, "items": items})
    return groups


def account(request: HttpRequest) -> list[dict[str, Any]]:
    """The links below the person's own name."""
    links = [
        {"title": "Second factor", "link": reverse("cus-second-factor-setup")},
        {"title": "Recovery codes", "link": reverse("cus-recovery-codes")},
        {"title": "Sessions and tokens", "link": reverse("cus-sessions")},
    ]
    if role_of(request.user):
        links.append({"title": "What you are told of", "link": reverse("cus-notifications")})
    return links


def _place(request: HttpRequest, group: str | None) -> int:
    return 0 if group == _MONEY and role_of(request.user) == "finance" else 1


def _open_to(request: HttpRequest) -> dict[str, str]:
    """The addresses of the pages that the person may open."""
    lists = {
        f"{model._meta.app_label}_{model._meta.model_name}": page
        for model, page in admin.site._registry.items()  # noqa: SLF001  (it has no other door)
    }
    return {
        name: reverse(f"admin:{name}_changelist")
        for name, page in lists.items()
        if page.has_view_permission(request)
    } | {
        page.name: reverse(page.name)
        for page in PAGES
        if "<" not in page.route and page.is_open_to(request)
    }
