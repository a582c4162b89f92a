"""Input and output of the API of budgets in code."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from integrations.cus_web.strict_fields import StrictInput, StrictInteger, StrictText
from telemetry.cus_holds.limit_models import CusRunLimit
from telemetry.cus_money.amounts import MOST
from telemetry.cus_run_budgets.uses import UNITS, RunAmount


class RunAmountOutput(serializers.Serializer[RunAmount]):
    """One amount of a budget, and what calls may still take of it, in its unit."""

    unit = serializers.ChoiceField(UNITS)
    by_code = serializers.IntegerField(help_text="The least that a program gave.")
    raised_to = serializers.IntegerField(
        allow_null=True, help_text="Replaces what code gives; null where nobody raised it."
    )
    limit = serializers.IntegerField(help_text="What the session may use in all.")
    used = serializers.IntegerField()
    held = serializers.IntegerField(help_text="For calls that run.")
    leased = serializers.IntegerField(help_text="With programs that hold a lease.")
    left = serializers.IntegerField()


class RunLimitOutput(serializers.ModelSerializer[CusRunLimit]):
    """A session's budget in code. Its ETag rises when a person raises it."""

    amounts = serializers.SerializerMethodField("amounts_taken")
    used_at = serializers.DateTimeField(
        help_text="When a process last named it; one that goes on to name it says so after six hours."
    )
    raised_by = serializers.CharField(help_text="Empty where nobody raised it.")

    class Meta:
        model = CusRunLimit
        fields = (
            "session_id",
            "limit_id",
            "amounts",
            "created_at",
            "used_at",
            "raised_at",
            "raised_by",
            "raised_reason",
        )

    @extend_schema_field(RunAmountOutput(many=True))
    def amounts_taken(self, row: CusRunLimit) -> Any:
        return RunAmountOutput(self.context["amounts"][row.limit_id], many=True).data


def _raised(unit: str) -> StrictInteger:
    return StrictInteger(
        min_value=1,
        max_value=MOST,
        required=False,
        allow_null=True,
        help_text=f"In {unit}: more than code gives; null takes an increase back.",
    )


class RunLimitChange(StrictInput):
    """What the session may use in all, and why. What is not named stays."""

    shown_only: ClassVar[frozenset[str]] = frozenset(RunLimitOutput.Meta.fields)

    reason = StrictText(max_length=500, help_text="For those who read the audit trail.")

    def get_fields(self) -> dict[str, Any]:
        """An amount of each unit, and the reason."""
        return {unit: _raised(unit) for unit in UNITS} | super().get_fields()


class RunLimitFilters(serializers.Serializer[object]):
    """Which budgets to list."""

    session_id = serializers.CharField(
        required=False, max_length=100, help_text="Only that of this session."
    )
