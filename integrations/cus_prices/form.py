"""The form in which people enter a tenant's own price: a box for each kind of token."""

from typing import ClassVar, cast

from django import forms
from unfold.widgets import UnfoldAdminTextInputWidget

from integrations.cus_accounts.models import CusUser
from integrations.cus_console.forms import CusServiceForm, tenant_for, with_boxes
from integrations.cus_prices.models import CusPriceOverride
from integrations.cus_prices.service import KINDS, CusPriceOverrideService

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
    required = kind in ("input", "output")
    help_text = "US dollars per million tokens" if required else "Empty: as plain input or output"
    return forms.CharField(
        label=_LABELS[kind],
        required=required,
        help_text=help_text,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
    )


@with_boxes({f"price_{kind}": _price_box(kind) for kind in KINDS})
class PriceOverrideForm(CusServiceForm):
    """Puts the boxes together to the prices that the service takes."""

    price_fields: ClassVar[list[str]] = [f"price_{kind}" for kind in KINDS]

    class Meta:
        model = CusPriceOverride
        fields = ("tenant", "model", "valid_from", "note")

    def call_service(self) -> CusPriceOverride:
        cleaned = self.cleaned_data
        given = {kind: (cleaned.get(f"price_{kind}") or "").strip() for kind in KINDS}
        tenant = tenant_for(self.request, cleaned)
        service = CusPriceOverrideService(tenant, actor=cast("CusUser", self.request.user))
        return service.append(
            model=cleaned["model"],
            prices={kind: text for kind, text in given.items() if text},
            valid_from=cleaned["valid_from"],
            note=cleaned["note"],
        )
