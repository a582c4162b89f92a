"""What the API of a tenant's own prices takes and gives."""

from rest_framework import serializers

from integrations.cus_prices.models import CusPriceOverride
from integrations.cus_prices.service import KINDS
from integrations.cus_web.strict_fields import StrictInput, StrictMoment, StrictText

_TEXT = "US dollars per million tokens, as a decimal text."


class PriceOverrideInput(StrictInput):
    """A tenant's own price of a model from a moment on."""

    model = StrictText(max_length=100)
    prices = serializers.DictField(
        child=StrictText(), help_text=f"{_TEXT} Kinds: {', '.join(KINDS)}."
    )
    valid_from = StrictMoment()
    note = StrictText(max_length=255, required=False, allow_blank=True)


class PriceOverrideOutput(serializers.ModelSerializer[CusPriceOverride]):
    """A price as it was appended."""

    class Meta:
        model = CusPriceOverride
        fields = ("id", "model", "prices", "valid_from", "note", "created_at")
