"""The form in which people enter a tenant's own price: a box for each kind of token."""

import uuid
from typing import Any, ClassVar

from django import forms
from unfold.widgets import UnfoldAdminTextInputWidget

from integrations.cus_price_override_models import CusPriceOverride
from integrations.cus_price_override_service import KINDS, checked_prices

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


class PriceOverrideForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """Puts the boxes together to the prices that the service takes."""

    price_fields: ClassVar[list[str]] = [f"price_{kind}" for kind in KINDS]
    # Set where the tenant is no question: for a tenant's own admin.
    tenant_id: ClassVar[uuid.UUID | None] = None

    for _kind in KINDS:
        locals()[f"price_{_kind}"] = _price_box(_kind)

    class Meta:
        model = CusPriceOverride
        fields = ("tenant", "model", "valid_from", "note")

    def _get_validation_exclusions(self) -> set[str]:
        # What no box asks for is checked with the rest: a moment is free once for each tenant.
        exclusions: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]  # in no stubs
        return exclusions - {"tenant"} if self.tenant_id else exclusions

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.tenant_id:
            self.instance.tenant_id = self.tenant_id
        given = {kind: (cleaned.get(f"price_{kind}") or "").strip() for kind in KINDS}
        if not self.errors:
            try:
                prices = checked_prices({kind: text for kind, text in given.items() if text})
            except forms.ValidationError as error:
                raise forms.ValidationError(error.messages) from None
            self.instance.prices = prices
        return cleaned
