"""What the API of authority takes and gives."""

from rest_framework import serializers

from integrations.cus_login_models import CusApiToken
from integrations.cus_models import CusPriceOverride
from integrations.cus_price_override_service import KINDS

_TEXT = "US dollars per million tokens, as a decimal text."


class StrictInput(serializers.Serializer[object]):
    """Refuses fields that it does not know: a typing error must not pass for a wish."""

    def to_internal_value(self, data: object) -> object:
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                hint = f"Unknown field. Known are {', '.join(self.fields)}."
                raise serializers.ValidationError({name: [hint] for name in unknown})
        return super().to_internal_value(data)


class PriceOverrideInput(StrictInput):
    """A tenant's own price of a model from a moment on."""

    model = serializers.CharField(max_length=100)
    prices = serializers.DictField(
        child=serializers.CharField(), help_text=f"{_TEXT} Kinds: {', '.join(KINDS)}."
    )
    valid_from = serializers.DateTimeField()
    note = serializers.CharField(max_length=255, required=False, allow_blank=True)


class PriceOverrideOutput(serializers.ModelSerializer[CusPriceOverride]):
    """A price as it was appended."""

    class Meta:
        model = CusPriceOverride
        fields = ("id", "model", "prices", "valid_from", "note", "created_at")


class TokenInput(StrictInput):
    """What an API token is called, and when it ends (in 90 days if nothing is said)."""

    name = serializers.CharField(max_length=100)
    expires_at = serializers.DateTimeField(required=False, help_text="Within a year.")


class TokenOutput(serializers.ModelSerializer[CusApiToken]):
    """An API token, without its secret."""

    created_at = serializers.DateTimeField(source="created", read_only=True)
    expires_at = serializers.DateTimeField(source="expiry", read_only=True)

    class Meta:
        model = CusApiToken
        fields = ("id", "name", "hint", "created_at", "expires_at", "revoked_at", "last_used_at")


class TokenIssued(TokenOutput):
    """A new API token, with its text: shown once."""

    token = serializers.SerializerMethodField()

    class Meta:
        model = CusApiToken
        fields = (*TokenOutput.Meta.fields, "token")

    def get_token(self, _token: CusApiToken) -> str:
        return str(self.context["token"])
