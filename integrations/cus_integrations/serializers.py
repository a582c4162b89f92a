"""Input and output of the API of integrations."""

from typing import Any

from django.utils import timezone
from rest_framework import serializers

from integrations.cus_lifecycle.limits import LIMIT_COLUMNS, LIMITS, placed_after
from integrations.cus_lifecycle.models import (
    ESTIMATE_PROMISES,
    HEALTH_COLUMNS,
    MAX_LIVE_HOLDS,
    CusIntegration,
)
from integrations.cus_limits.standing_in import own_limits_stood_in
from integrations.cus_providers.registry import supported_choices
from integrations.cus_providers.rules import credential_texts
from integrations.cus_web.strict_fields import (
    StrictBoolean,
    StrictChoice,
    StrictInput,
    StrictInteger,
    StrictText,
)

# `settings.py` names this list, for the OpenAPI document.
STATUSES = CusIntegration.Status.choices


class IntegrationOutput(serializers.ModelSerializer[CusIntegration]):
    """An integration. Answers show only the last characters of its credential."""

    config = serializers.DictField()
    coverage_percent = serializers.FloatField(allow_null=True)
    credential_hint = serializers.SerializerMethodField(
        help_text="The credential's last four characters; null if there are none to show."
    )

    class Meta:
        model = CusIntegration
        fields: tuple[str, ...] = (
            "id",
            "tenant_id",
            "name",
            "provider_type",
            "status",
            "error_reason",
            *HEALTH_COLUMNS,
            "credential_hint",
            "config",
            "default_model",
            *LIMIT_COLUMNS,
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


class ChangedIntegration(IntegrationOutput):
    """An integration after a change, and what keeps the change from binding."""

    stood_in_for = serializers.SerializerMethodField(
        help_text="A sentence for each limit in whose place a temporary limit holds now, so that a "
        "change of the limit does nothing yet."
    )

    class Meta(IntegrationOutput.Meta):
        fields = (*IntegrationOutput.Meta.fields, "stood_in_for")

    def get_stood_in_for(self, integration: CusIntegration) -> list[str]:
        return own_limits_stood_in(integration, now=timezone.now())


class IntegrationFields(StrictInput):
    """The fields that may be set when an integration is made, and later."""

    shown_only = frozenset(ChangedIntegration.Meta.fields)

    name = StrictText(max_length=255)
    credential = serializers.DictField(
        child=StrictText(),
        required=False,
        write_only=True,
        help_text="Replaces the stored credential; without it the stored credential stays. Needed "
        "if the configuration leads to another scheme, host or port than the stored credential "
        "was entered for.",
    )
    config = serializers.DictField(
        default=dict, help_text="By provider type; holds no secrets, and is shown."
    )
    default_model = StrictText(max_length=100, allow_null=True, default=None)
    budget_basis = StrictChoice(
        CusIntegration.BudgetBasis.choices, default=CusIntegration.BudgetBasis.ROUNDED
    )
    estimate_basis = StrictChoice(
        CusIntegration.EstimateBasis.choices,
        default=CusIntegration.EstimateBasis.BOUND,
        help_text=ESTIMATE_PROMISES,
    )
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

    def get_fields(self) -> dict[str, Any]:
        """The fields above, and one for each limit."""
        fields: dict[str, Any] = super().get_fields()
        every = fields | {
            limit.column: StrictInteger(max_value=limit.most, default=0, help_text=limit.help)
            for limit in LIMITS
        }
        together = {column: every[column] for column in LIMIT_COLUMNS}
        return placed_after("default_model", fields, together)


class IntegrationChange(IntegrationFields):
    """The fields that may be changed. PUT sets missing fields to their defaults."""

    credential_ref = StrictText(
        max_length=1000,
        required=False,
        write_only=True,
        source="reference",
        help_text="Operators only, instead of a credential: its place, as env://… or vault://…",
    )


class ProviderChoice(StrictChoice):
    """A provider that this release serves."""

    def __init__(self, **options: Any) -> None:
        # Each serializer builds its fields anew, so the choices are those of the present registry.
        super().__init__(supported_choices(), **options)


class CredentialInput(serializers.DictField):
    """A credential in one of the shapes that the providers take. Answers never contain it."""

    def __init__(self, **options: Any) -> None:
        shapes = f"{credential_texts()}."
        super().__init__(child=StrictText(), write_only=True, help_text=shapes, **options)


class IntegrationCreate(IntegrationFields):
    """A new integration."""

    shown_only = frozenset(ChangedIntegration.Meta.fields) - {"provider_type"}

    provider_type = ProviderChoice()
    credential = CredentialInput()


class IntegrationFilters(StrictInput):
    """Filters and the order of the list of integrations."""

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
        required=False, help_text="The staff only: the integrations of this tenant."
    )
