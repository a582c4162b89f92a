"""The console's page on tenants' own prices."""

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from integrations.cus_accounts.permissions import role_of
from integrations.cus_console.actions import CusActions
from integrations.cus_console.export import CusExport
from integrations.cus_lifecycle.console import CusOffersIntegrations
from integrations.cus_prices.form import PriceOverrideForm, shown_samples
from integrations.cus_prices.models import CusPriceOverride
from integrations.cus_prices.price_list import price_list
from integrations.cus_prices.prices import PERCENT

_LIMITS = ("integration", "provider", "host")


@admin.register(CusPriceOverride)
class CusPriceOverrideAdmin(CusActions, CusExport, CusOffersIntegrations):
    """Tenants' own prices. Prices are added, never changed."""

    list_display = (
        "model",
        "tenant",
        "limited_to",
        "input_price",
        "output_price",
        "other_prices",
        "rest",
        "valid_from",
        "note",
    )
    search_fields = ("model",)
    list_select_related = ("tenant", "integration")
    form = PriceOverrideForm
    add_form_template = "admin/cus_price_form.html"
    fields = (
        "tenant_shown",
        "model",
        "limited_to",
        "prices",
        "meaning",
        "sample_calls",
        "valid_from",
        "note",
        "created_at",
        "created_by_shown",
    )
    readonly_fields = (
        "tenant_shown",
        "limited_to",
        "meaning",
        "sample_calls",
        "created_at",
        "created_by_shown",
    )
    actions_detail = ("history",)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: CusPriceOverride | None = None) -> list[str]:
        if obj:
            return list(self.fields)
        asked = ["model", *_LIMITS, *PriceOverrideForm.price_fields, "valid_from", "note"]
        return asked if role_of(request.user) == "admin" else ["tenant", *asked]

    @display(description="Limited to")
    def limited_to(self, override: CusPriceOverride) -> str:
        return override.scope

    @display(description="The rest")
    def rest(self, override: CusPriceOverride) -> str:
        if override.replaces_list:
            return "Replaces the list"
        return _of_the_list(override)

    @display(description="Input, per million tokens")
    def input_price(self, override: CusPriceOverride) -> str:
        return _dollars(override, "input")

    @display(description="Output, per million tokens")
    def output_price(self, override: CusPriceOverride) -> str:
        return _dollars(override, "output")

    @display(description="Other prices")
    def other_prices(self, override: CusPriceOverride) -> str:
        shown = ("input", "output", PERCENT)
        return ", ".join(_words({k: v for k, v in override.prices.items() if k not in shown}))

    @display(description="Meaning")
    def meaning(self, override: CusPriceOverride) -> str:
        if override.hint:
            return override.hint
        percent = override.prices.get(PERCENT)
        cost = f"{percent} % of the list's price" if percent else "the list's price"
        return f"What this price does not name costs {cost}."

    @display(description="Sample calls")
    def sample_calls(self, override: CusPriceOverride) -> SafeString:
        return shown_samples(price_list().sample_calls(override))


def _dollars(override: CusPriceOverride, kind: str) -> str:
    price = override.prices.get(kind)
    return f"${price}" if price is not None else _of_the_list(override)


def _of_the_list(override: CusPriceOverride) -> str:
    percent = override.prices.get(PERCENT)
    return f"{percent} % of the list" if percent is not None else "As the list"


def _words(prices: dict[str, Any], before: str = "") -> list[str]:
    """Prices as words: `cached $0.5`, `batch input $1`, `searches $8`."""
    words: list[str] = []
    for name, price in prices.items():
        if name in ("tiers", "units"):
            words += _words(price)
        elif isinstance(price, dict):
            words += _words(price, f"{name} ")
        else:
            words.append(f"{before}{name} ${price}")
    return words
