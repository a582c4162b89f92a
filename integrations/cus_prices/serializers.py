"""What the API of a tenant's own prices takes and gives."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.cus_prices.models import CusPriceOverride
from integrations.cus_prices.prices import KINDS, MOST_PERCENT, PERCENT
from integrations.cus_web.strict_fields import StrictInput, StrictMoment, StrictText

_AMOUNT = {"type": "string", "example": "2.50"}
_KINDS = {"type": "object", "properties": dict.fromkeys(KINDS, _AMOUNT)}
_PRICES: dict[str, Any] = {
    "type": "object",
    "description": "US dollars per million tokens, as decimal texts, by kind of token. What is not "
    "named is the list's price.",
    "properties": {
        **_KINDS["properties"],  # type: ignore[dict-item]
        PERCENT: {
            "type": "string",
            "description": "What everything that is not named costs, in percent of the list's "
            f"price, 0 to {MOST_PERCENT}: 90 is 10 % off.",
            "example": "90",
        },
        "tiers": {
            "type": "object",
            "description": "Prices of a service tier, by its name, such as batch.",
            "additionalProperties": _KINDS,
        },
        "units": {
            "type": "object",
            "description": "US dollars per thousand of a unit, such as searches.",
            "additionalProperties": _AMOUNT,
        },
    },
}


@extend_schema_field(_PRICES)
class _Prices(serializers.JSONField):
    """What a price says; the service tells what is wrong with it."""


class PriceOverrideInput(StrictInput):
    """A tenant's own price of a model from a moment on, limited to one of three, or to none."""

    model = StrictText(max_length=100)
    prices = _Prices()
    valid_from = StrictMoment()
    note = StrictText(max_length=255, required=False, allow_blank=True)
    integration_id = serializers.UUIDField(
        required=False, allow_null=True, help_text="Only calls of this integration."
    )
    provider = StrictText(
        max_length=50,
        required=False,
        allow_null=True,
        help_text="Only calls that this provider answers.",
    )
    host = StrictText(
        max_length=255,
        required=False,
        allow_null=True,
        help_text="Only calls to this host: the host alone, such as api.example.com.",
    )


class PriceOverrideOutput(serializers.ModelSerializer[CusPriceOverride]):
    """A price as it was appended."""

    hint = serializers.CharField(
        read_only=True, allow_null=True, help_text="What to know of a price that replaces the list."
    )

    class Meta:
        model = CusPriceOverride
        fields = (
            "id",
            "model",
            "prices",
            "valid_from",
            "note",
            "created_at",
            "integration_id",
            "provider",
            "host",
            "replaces_list",
            "hint",
        )


class SampleCallOutput(serializers.Serializer[Any]):
    """What a sample call costs without and with a price, in microcents (10⁻⁶ cent)."""

    tier = serializers.CharField(allow_null=True, help_text="The service tier; null is the plain.")
    call = serializers.CharField()
    before = serializers.IntegerField(allow_null=True, help_text="Null where it has no price.")
    after = serializers.IntegerField(allow_null=True)


class PricePreviewOutput(serializers.Serializer[Any]):
    """What a price would change; nothing is stored."""

    sample_calls = SampleCallOutput(many=True)
