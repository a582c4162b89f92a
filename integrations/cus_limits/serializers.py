"""Input and output of the API of limits at scopes."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.utils import timezone
from rest_framework import serializers

from integrations.cus_limits.models import MOST, CusScopedLimit
from integrations.cus_limits.service import COUNTED, MUTABLE
from integrations.cus_limits.standing_in import standing_in_text
from integrations.cus_limits.uses import MANY_VALUES, Uses
from integrations.cus_web.strict_fields import (
    StrictBoolean,
    StrictChoice,
    StrictInput,
    StrictInteger,
    StrictMoment,
    StrictText,
)


class LimitOutput(serializers.ModelSerializer[CusScopedLimit]):
    """A limit. Its ETag is its version."""

    value = serializers.SerializerMethodField(
        "named", help_text="The name that calls have; null: each value, or a scope of all calls."
    )

    class Meta:
        model = CusScopedLimit
        fields: tuple[str, ...] = (
            "id",
            "integration_id",
            *COUNTED,
            *MUTABLE,
            "created_at",
            "updated_at",
        )

    def named(self, limit: CusScopedLimit) -> str | None:
        return limit.value or None


class LimitDetail(LimitOutput):
    """A limit, how many values it counts now, and what holds in its place."""

    live_values = serializers.SerializerMethodField(
        "counted",
        help_text="Values that something is used of or held for in the present window; "
        f"at most {MANY_VALUES + 1:,} are counted.",
    )
    are_many = serializers.SerializerMethodField(
        "crowded", help_text=f"Whether these are more than {MANY_VALUES:,}: are names made up?"
    )
    stood_in_for = serializers.SerializerMethodField(
        help_text="A sentence on the temporary limit that holds in place of this permanent one now, "
        "so that a change of this limit does nothing yet; null if none does.",
    )

    class Meta(LimitOutput.Meta):
        fields = (*LimitOutput.Meta.fields, "live_values", "are_many", "stood_in_for")

    def counted(self, limit: CusScopedLimit) -> int:
        return self._uses(limit).values

    def crowded(self, limit: CusScopedLimit) -> bool:
        return self._uses(limit).are_many

    def get_stood_in_for(self, limit: CusScopedLimit) -> str | None:
        return standing_in_text(limit, now=timezone.now())

    def _uses(self, limit: CusScopedLimit) -> Uses:
        uses: Mapping[UUID, Uses] = self.context["uses"]
        return uses.get(limit.id, Uses())


class LimitChange(StrictInput):
    """The fields that may be changed."""

    shown_only = frozenset(LimitDetail.Meta.fields)

    amount = StrictInteger(
        min_value=1, max_value=MOST, help_text="In cents, tokens or calls, by the unit."
    )
    basis = StrictChoice(
        CusScopedLimit.Basis.choices,
        required=False,
        help_text="What cents are compared; without it the integration's budget_basis.",
    )
    result = StrictChoice(
        CusScopedLimit.Result.choices,
        required=False,
        help_text="Without it: throttled for calls, and for tokens a minute; else blocked.",
    )
    warning_percent = StrictInteger(
        min_value=1, max_value=100, required=False, help_text="80 without it."
    )
    enabled = StrictBoolean(required=False)
    valid_from = StrictMoment(required=False, help_text="Now, without it.")
    valid_until = StrictMoment(
        required=False, allow_null=True, help_text="A limit with an end ends by itself."
    )
    reason = StrictText(max_length=500, required=False, allow_blank=True)

    def _hint(self, name: str) -> str:
        if name in COUNTED:  # `LimitInput` has these fields, so none of them is unknown there.
            return "What a limit counts never changes: make another limit, and delete this."
        return super()._hint(name)


class LimitInput(LimitChange):
    """A limit: of which calls, of what, over which window, and how much."""

    scope = StrictChoice(CusScopedLimit.Scope.choices)
    tag = StrictText(
        max_length=64,
        required=False,
        allow_blank=True,
        help_text="The key of a tag, for scope tag.",
    )
    value = StrictText(
        max_length=100,
        required=False,
        allow_null=True,
        help_text="The name that calls have; null: each value has this limit. Of a tag its value, "
        "or key=value.",
    )
    unit = StrictChoice(CusScopedLimit.Unit.choices)
    window = StrictChoice(
        CusScopedLimit.Window.choices,
        help_text="minute: the last 60 seconds; the others in UTC; life: a session's, in all.",
    )

    def get_fields(self) -> dict[str, Any]:
        """What a limit counts first, then how much."""
        fields: dict[str, Any] = super().get_fields()
        return {name: fields[name] for name in COUNTED} | fields
