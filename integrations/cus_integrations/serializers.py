"""What the API of authority takes and gives."""

import dataclasses
from typing import Any, ClassVar

from rest_framework import serializers

from integrations.cus_accounts.models import CusApiToken
from integrations.cus_accounts.token_rights import MOST_RANGES, TokenRights
from integrations.cus_lifecycle.models import MAX_LIVE_HOLDS, CusIntegration
from integrations.cus_prices.models import CusPriceOverride
from integrations.cus_prices.service import KINDS
from integrations.cus_providers.rules import supported_choices
from integrations.cus_tenancy.models import CusMembership
from integrations.cus_web.strict_fields import (
    MAX_BIG_INTEGER,
    StrictBoolean,
    StrictChoice,
    StrictEmail,
    StrictInteger,
    StrictMoment,
    StrictText,
)

_TEXT = "US dollars per million tokens, as a decimal text."
_MOST_NAMED = 10


class StrictInput(serializers.Serializer[object]):
    """Refuses fields that it does not know: a typing error must not pass for a wish."""

    # What the answers show and nobody sets; refused with words of its own.
    shown_only: ClassVar[frozenset[str]] = frozenset()

    def to_internal_value(self, data: object) -> object:
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError(self._hints(unknown))
        return super().to_internal_value(data)

    def _hints(self, unknown: list[str]) -> dict[str, list[str]]:
        """One for each of the first; the last of these tells of the rest."""
        hints = {name: [self._hint(name)] for name in unknown[:_MOST_NAMED]}
        if (more := len(unknown) - _MOST_NAMED) > 0:
            hints[unknown[_MOST_NAMED - 1]].append(f"{more:,} more fields are unknown, too.")
        return hints

    def _hint(self, name: str) -> str:
        if name in self.shown_only:
            return "This field can't be set this way; it is only shown."
        return f"Unknown field. Known are {', '.join(self.fields)}."


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


class TokenInput(StrictInput):
    """What an API token is called, and when it ends (in 90 days if nothing is said)."""

    name = StrictText(max_length=100)
    expires_at = StrictMoment(required=False, help_text="Within a year.")
    may_change_access = StrictBoolean(
        required=False, help_text="Also change credentials, keys, tokens, members and roles."
    )
    read_only = StrictBoolean(  # type: ignore[assignment]  # the contract's name
        required=False,
        help_text="Only GET and HEAD; everything else gets 403 `token_read_only`. Not together "
        "with may_change_access.",
    )
    address_ranges = serializers.ListField(
        child=StrictText(max_length=50),
        max_length=MOST_RANGES,
        required=False,
        help_text="Where the token may be used from, such as 192.0.2.0/24 or 2001:db8::/48; "
        "elsewhere it gets the 401 of an unknown token. Empty: anywhere.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """What the token may becomes one value, `rights`."""
        names = [field.name for field in dataclasses.fields(TokenRights)]
        given = {name: attrs.pop(name) for name in names if name in attrs}
        return attrs | {"rights": TokenRights(**given)}


class TokenOutput(serializers.ModelSerializer[CusApiToken]):
    """An API token, without its secret."""

    created_at = serializers.DateTimeField(source="created", read_only=True)
    expires_at = serializers.DateTimeField(source="expiry", read_only=True)

    class Meta:
        model = CusApiToken
        fields: tuple[str, ...] = (
            "id",
            "name",
            "hint",
            "may_change_access",
            "read_only",
            "address_ranges",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "last_refused_at",
            "last_refused_address",
        )


class TokenIssued(TokenOutput):
    """A new API token, with its text: shown once."""

    token = serializers.SerializerMethodField()

    class Meta:
        model = CusApiToken
        fields = (*TokenOutput.Meta.fields, "token")

    def get_token(self, _token: CusApiToken) -> str:
        return str(self.context["token"])


class IntegrationOutput(serializers.ModelSerializer[CusIntegration]):
    """An integration as it is. Its credential is in no answer, but for the last characters."""

    config = serializers.DictField()
    coverage_percent = serializers.FloatField(allow_null=True)
    credential_hint = serializers.SerializerMethodField(
        help_text="The credential's last four characters; null where there is none to show."
    )

    class Meta:
        model = CusIntegration
        fields = (
            "id",
            "tenant_id",
            "name",
            "provider_type",
            "status",
            "error_reason",
            "health_state",
            "health_checked_at",
            "health_message",
            "credential_state",
            "credential_hint",
            "config",
            "default_model",
            "budget_limit_cents",
            "budget_basis",
            "token_limit_month",
            "rate_limit_rpm",
            "enforcement_level",
            "allow_unpriced",
            "max_live_holds",
            "coverage_percent",
            "config_version",
            "created_at",
            "updated_at",
        )

    def get_credential_hint(self, integration: CusIntegration) -> str | None:
        if not self.context["shows_credentials"]:
            return None
        stored: Any = getattr(integration, "stored_credential", None)
        return stored.hint or None if stored else None


class IntegrationFields(StrictInput):
    """What may be set when an integration is made, and later."""

    shown_only = frozenset(IntegrationOutput.Meta.fields)

    name = StrictText(max_length=255)
    credential = serializers.DictField(
        child=StrictText(),
        required=False,
        write_only=True,
        help_text="Replaces the stored one; without it the stored one stays. Needed where the "
        "configuration leads to another scheme, host or port than the stored one was entered for.",
    )
    config = serializers.DictField(
        default=dict, help_text="By provider type; holds no secrets, and is shown."
    )
    default_model = StrictText(max_length=100, allow_null=True, default=None)
    budget_limit_cents = StrictInteger(default=0, help_text="A month; 0: no limit.")
    budget_basis = StrictChoice(
        CusIntegration.BudgetBasis.choices, default=CusIntegration.BudgetBasis.ROUNDED
    )
    token_limit_month = StrictInteger(
        max_value=MAX_BIG_INTEGER, default=0, help_text="0: no limit."
    )
    rate_limit_rpm = StrictInteger(default=0, help_text="Calls a minute; 0: no limit.")
    enforcement_level = StrictChoice(
        CusIntegration.EnforcementLevel.choices,
        default=CusIntegration.EnforcementLevel.BLOCK,
        help_text="Goes up one rung at a time, and down freely.",
    )
    allow_unpriced = StrictBoolean(default=False)
    max_live_holds = StrictInteger(
        max_value=MAX_LIVE_HOLDS,
        required=False,
        help_text="Calls that may be held for at once; operators only. PUT without it keeps it.",
    )


class IntegrationChange(IntegrationFields):
    """What may be changed of an integration. PUT sets what is missing to its default."""

    credential_ref = StrictText(
        max_length=1000,
        required=False,
        write_only=True,
        source="reference",
        help_text="Operators only, instead of a credential: where it is, as env://… or vault://…",
    )


class IntegrationCreate(IntegrationFields):
    """A new integration."""

    shown_only = frozenset(IntegrationOutput.Meta.fields) - {"provider_type"}

    provider_type = StrictChoice(supported_choices())
    credential = serializers.DictField(
        child=StrictText(),
        write_only=True,
        help_text="openai, anthropic, custom: {api_key}; azure_openai: {api_key} or "
        "{azure_ad_token}; bedrock: {aws_access_key_id, aws_secret_access_key, "
        "aws_session_token?} or {api_key}.",
    )


class IntegrationFilters(StrictInput):
    """Which integrations are listed, and in what order."""

    status = StrictChoice(CusIntegration.Status.choices, required=False)
    provider_type = StrictChoice(CusIntegration.Provider.choices, required=False)
    health_state = StrictChoice(CusIntegration.Health.choices, required=False)
    search = StrictText(max_length=255, required=False, help_text="Part of the name.")
    ordering = StrictChoice(
        ["name", "-name", "created_at", "-created_at", "updated_at", "-updated_at"],
        default="name",
    )


class IntegrationFiltersOfAll(IntegrationFilters):
    """The same for operators and support, who see every tenant."""

    tenant_id = serializers.UUIDField(
        required=False, help_text="Operators and support only: the integrations of this tenant."
    )


class MemberInput(StrictInput):
    """Somebody to invite."""

    email = StrictEmail(max_length=254)
    role = StrictChoice(CusMembership.Role.choices, default=CusMembership.Role.MEMBER)


class MemberChange(StrictInput):
    """Somebody's new role."""

    role = StrictChoice(CusMembership.Role.choices)


class MemberOutput(serializers.ModelSerializer[CusMembership]):
    """Somebody of the tenant, or an invitation that is still open."""

    email = serializers.EmailField()
    state = serializers.SerializerMethodField()

    class Meta:
        model = CusMembership
        fields = ("id", "email", "role", "state", "created_at")

    def get_state(self, membership: CusMembership) -> str:
        """`invited` until the person has set a password, then `active`."""
        return "active" if membership.user_id else "invited"
