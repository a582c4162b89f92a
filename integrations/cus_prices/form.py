"""The form in which people enter a tenant's own price: a box for each kind of token."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, cast

from django import forms
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_accounts.models import CusUser
from integrations.cus_console.forms import CusServiceForm, tenant_for, with_boxes
from integrations.cus_prices.models import CusPriceOverride
from integrations.cus_prices.price_list import SampleCall, price_list
from integrations.cus_prices.prices import KINDS, PERCENT
from integrations.cus_prices.service import CusPriceOverrideService

# The button that shows what a price would change.
PREVIEW = "_preview"
_LABELS = {
    "input": "Input",
    "cached": "Cached input",
    "cache_write_5m": "Cache write, short-lived",
    "cache_write_1h": "Cache write, one hour",
    "audio_in": "Audio input",
    "image_in": "Image input",
    "output": "Output",
    "reasoning": "Reasoning",
    "audio_out": "Audio output",
}


def _price_box(kind: str) -> forms.CharField:
    return forms.CharField(
        label=_LABELS[kind],
        required=False,
        help_text="US dollars per million tokens. Empty: the list's price, at the percentage above",
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
    )


_PERCENT_BOX = forms.CharField(
    label="Percent of the list",
    required=False,
    help_text="What everything costs that is not named below: 90 is 10 % off. Empty: 100",
    widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
)
_OTHERS_BOX = forms.CharField(
    label="Tiers and units",
    required=False,
    help_text="One price a line. A tier's: its name, the kind, dollars per million tokens, such as "
    "“batch input 1.25”. A unit's: its name, dollars per thousand, such as “searches 8”",
    widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
)
_BOXES: dict[str, forms.Field] = {
    "price_percent": _PERCENT_BOX,
    **{f"price_{kind}": _price_box(kind) for kind in KINDS},
    "price_others": _OTHERS_BOX,
}


@with_boxes(_BOXES)
class PriceOverrideForm(CusServiceForm):
    """Puts the boxes together to the prices that the service takes."""

    price_fields: ClassVar[list[str]] = list(_BOXES)
    # What the price would change, where that was asked for in place of appending it.
    sample_calls: list[SampleCall] | None = None

    class Meta:
        model = CusPriceOverride
        fields = ("tenant", "model", "integration", "provider", "host", "valid_from", "note")
        help_texts = {
            "model": "The name as programs ask for it, or as the list has it",
            "integration": "Empty: of all integrations. Limit a price by one of these three at most",
            "provider": "Empty: of all providers",
            "host": "Empty: of all hosts. The host alone, such as api.example.com",
        }

    def field_of(self, name: str) -> str:
        return {"integration_id": "integration", "prices": "price_percent"}.get(name, name)

    def call_service(self) -> CusPriceOverride:
        cleaned = self.cleaned_data
        tenant = tenant_for(self.request, cleaned)
        service = CusPriceOverrideService(tenant, actor=cast("CusUser", self.request.user))
        integration = cleaned["integration"]
        price: dict[str, Any] = {
            "model": cleaned["model"],
            "prices": self._prices(),
            "valid_from": cleaned["valid_from"],
            "note": cleaned["note"],
            "integration_id": integration and integration.id,
            "provider": cleaned["provider"],
            "host": cleaned["host"],
        }
        if PREVIEW not in self.data:
            return service.append(**price)
        override = service.checked(**price)
        self.sample_calls = price_list().sample_calls(override)
        return override

    def is_valid(self) -> bool:
        """Also false for a preview: nothing was appended, so the form is shown again."""
        return super().is_valid() and self.sample_calls is None

    def samples_shown(self) -> SafeString:
        """The table of what the price would change."""
        return shown_samples(self.sample_calls or [])

    def _prices(self) -> dict[str, Any]:
        boxes = {PERCENT: "price_percent", **{kind: f"price_{kind}" for kind in KINDS}}
        given = {name: (self.cleaned_data.get(box) or "").strip() for name, box in boxes.items()}
        named = {name: text for name, text in given.items() if text}
        return named | _others(self.cleaned_data.get("price_others") or "")


def shown_samples(samples: Sequence[SampleCall]) -> SafeString:
    """A table of what sample calls cost without and with a price."""
    rows = [
        {
            "tier": sample.tier or "plain",
            "call": sample.call,
            "before": _dollars(sample.before),
            "after": _dollars(sample.after),
        }
        for sample in samples
    ]
    lowers = any(
        sample.after < sample.before
        for sample in samples
        if sample.after is not None and sample.before is not None
    )
    return render_to_string("admin/cus_price_samples.html", {"samples": rows, "lowers": lowers})


def _dollars(microcents: int | None) -> str:
    if microcents is None:
        return "no price"
    dollars = Decimal(microcents) / MICROCENTS_PER_CENT / 100
    return f"${dollars:,.6f}"


def _others(text: str) -> dict[str, Any]:
    """The prices of tiers and units, from a line for each. Raises ValidationError."""
    tiers: dict[str, dict[str, str]] = {}
    units: dict[str, str] = {}
    for line in filter(None, map(str.split, text.splitlines())):
        if len(line) == 3:
            tiers.setdefault(line[0], {})[line[1]] = line[2]
        elif len(line) == 2:
            units[line[0]] = line[1]
        else:
            hint = "write a tier, a kind and dollars, or a unit and dollars."
            raise ValidationError({"price_others": f"“{' '.join(line)}”: {hint}"})
    return ({"tiers": tiers} if tiers else {}) | ({"units": units} if units else {})
