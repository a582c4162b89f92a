"""Input and output of simulations over HTTP."""

from typing import Any

from rest_framework import serializers

from aos_sdk import cus_wire as wire
from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.proposals import MOST_SCOPED, PROPOSED, SCOPED_FIELDS
from enforcement.cus_what_if.replay import AdmittedBy, Cause
from enforcement.cus_what_if.report import LISTED, RESULTS
from enforcement.cus_what_if.report_limits import VALUES_LISTED
from enforcement.cus_what_if.service import MOST_DAYS
from integrations.cus_lifecycle.limits import LIMITS
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.serializers import LimitInput
from integrations.cus_web.strict_fields import (
    StrictBoolean,
    StrictChoice,
    StrictInput,
    StrictInteger,
)

# `settings.py` names this list, for the OpenAPI document.
CAN_BE = [result.value for result in RESULTS]


class ProposedLimit(LimitInput):
    """A limit at a scope to try, which holds over all days of the simulation."""

    def get_fields(self) -> dict[str, Any]:
        """What a limit counts, and how much; not whether and when it holds."""
        fields: dict[str, Any] = super().get_fields()
        return {name: fields[name] for name in SCOPED_FIELDS}


class SimulateInput(StrictInput):
    """Proposed limits. What is not named stays as the integration has it now."""

    integration_id = serializers.UUIDField()
    days = StrictInteger(
        min_value=1, max_value=MOST_DAYS, default=30, help_text="Back from now on."
    )
    budget_basis = StrictChoice(CusIntegration.BudgetBasis.choices, required=False)
    enforcement_level = StrictChoice(CusIntegration.EnforcementLevel.choices, required=False)
    allow_unpriced = StrictBoolean(required=False)
    scoped_limits: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=ProposedLimit(),
        required=False,
        max_length=MOST_SCOPED,
        help_text="All limits at scopes to try. Without it: the permanent ones that hold now, of the "
        "integration and of its tenant. Temporary limits are never replayed.",
    )

    def get_fields(self) -> dict[str, Any]:
        """The fields above, and one for each limit."""
        limits = {
            limit.column: StrictInteger(max_value=limit.most, required=False, help_text=limit.help)
            for limit in LIMITS
        }
        fields: dict[str, Any] = super().get_fields()
        return fields | limits


class SimulatedSum(serializers.Serializer[object]):
    """Calls, and what budgets counted for them: of calls that never ran, nothing."""

    calls = serializers.IntegerField()
    counted_cents = serializers.IntegerField()
    cost_microcents = serializers.IntegerField()
    tokens = serializers.IntegerField()


class SimulatedResults(serializers.Serializer[object]):
    """By result."""

    allowed = SimulatedSum()
    warned = SimulatedSum()
    throttled = SimulatedSum()
    blocked = SimulatedSum()


class SimulatedDay(SimulatedResults):
    """A day in UTC, by when calls were decided."""

    day = serializers.DateField()


class SimulatedModel(SimulatedSum):
    """Calls of a model that would have been throttled or blocked."""

    model = serializers.CharField(allow_blank=True, help_text="As asked for.")


class WereResults(serializers.Serializer[object]):
    """Calls by what was decided then."""

    allowed = serializers.IntegerField()
    warned = serializers.IntegerField()
    throttled = serializers.IntegerField()
    blocked = serializers.IntegerField()


class NotSpent(serializers.Serializer[object]):
    """What the calls cost that would have been throttled or blocked."""

    counted_cents = serializers.IntegerField()
    cost_microcents = serializers.IntegerField()


class SimulatedReason(serializers.Serializer[object]):
    """How many calls had this as their first reason."""

    code = serializers.ChoiceField([code.value for code in wire.CusReasonCode])
    limit_type = serializers.CharField(allow_null=True)
    calls = serializers.IntegerField()


class SimulatedValue(SimulatedSum):
    """Calls of one value of a limit of each value that would have been refused."""

    value = serializers.CharField(allow_blank=True)


class SimulatedLimit(serializers.Serializer[object]):
    """What a limit would have decided. A call counts for the first limit that found something."""

    limit = serializers.CharField(
        allow_null=True, help_text="The integration's own limit; null: a limit at a scope."
    )
    limit_id = serializers.UUIDField(
        allow_null=True, help_text="Of a limit at a scope that holds now; null: a proposed limit."
    )
    scope = serializers.ChoiceField(CusScopedLimit.Scope.choices)
    tag = serializers.CharField(allow_blank=True)
    value = serializers.CharField(
        allow_null=True, allow_blank=True, help_text="Null: each value by itself."
    )
    unit = serializers.ChoiceField(CusScopedLimit.Unit.choices)
    window = serializers.ChoiceField(CusScopedLimit.Window.choices)
    amount = serializers.IntegerField()
    warned = SimulatedSum()
    throttled = SimulatedSum()
    blocked = SimulatedSum()
    refused_values = SimulatedValue(
        many=True,
        help_text=f"Of a limit of each value: the {VALUES_LISTED} whose refused calls cost most.",
    )


class SimulatedMove(serializers.Serializer[object]):
    """Calls that were decided one way, and would be decided another."""

    was = serializers.ChoiceField(CAN_BE)
    would_be = serializers.ChoiceField(CAN_BE)
    calls = serializers.IntegerField()


class SimulatedDifferences(serializers.Serializer[object]):
    """Calls that would be decided otherwise, and why the replay may differ from what happened."""

    calls = serializers.IntegerField()
    moves = SimulatedMove(many=True)
    causes = serializers.DictField(
        child=serializers.IntegerField(),
        help_text=f"Calls by cause: {', '.join(cause.value for cause in Cause)}.",
    )


class SimulatedCall(serializers.Serializer[object]):
    """A call that would have been warned, throttled or blocked."""

    call_id = serializers.CharField()
    usage_id = serializers.UUIDField(allow_null=True, help_text="Null: it was refused then.")
    model = serializers.CharField(allow_null=True)
    decided_at = serializers.DateTimeField()
    was = serializers.ChoiceField(CAN_BE)
    would_be = serializers.ChoiceField(CAN_BE)
    code = serializers.ChoiceField([code.value for code in wire.CusReasonCode])
    message = serializers.CharField()
    counted_cents = serializers.IntegerField()
    cost_microcents = serializers.IntegerField()
    admitted_by = serializers.ChoiceField(
        [by.value for by in AdmittedBy],
        allow_null=True,
        help_text="What admitted it then; null if it was refused.",
    )
    cause = serializers.ChoiceField([cause.value for cause in Cause], allow_null=True)


class SimulationReport(serializers.Serializer[object]):
    """What the proposed limits would have decided."""

    calls = serializers.IntegerField(help_text="Calls and refusals that were decided again.")
    would_be = SimulatedResults()
    were = WereResults()
    not_spent = NotSpent()
    would_run_now = SimulatedSum(
        help_text="Calls that were refused then and would run; what was held for them at most."
    )
    reasons = SimulatedReason(many=True)
    limits = SimulatedLimit(
        many=True,
        help_text=f"Limits that would have decided calls, at most {LISTED}: those first whose refused "
        "calls cost most.",
    )
    days = SimulatedDay(many=True)
    refused_models = SimulatedModel(many=True)
    listed = SimulatedCall(
        many=True, help_text=f"The first {LISTED} blocked, throttled and warned calls."
    )
    differences = SimulatedDifferences()
    without_estimate = serializers.IntegerField(
        help_text="Calls for which nothing was held: their estimate is what they used."
    )
    not_judged = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Refusals that no limit caused: contention, hard_blocked, by_sdk.",
    )
    notes = serializers.ListField(
        child=serializers.CharField(), help_text="What the replay leaves out, in words."
    )


class ReplayedLimit(serializers.ModelSerializer[CusScopedLimit]):
    """A limit at a scope that was replayed."""

    limit_id = serializers.UUIDField(allow_null=True, help_text="Null: a proposed limit.")

    class Meta:
        model = CusScopedLimit
        fields = ("limit_id", *SCOPED_FIELDS)


class ProposalOutput(serializers.Serializer[object]):
    """The limits that were replayed."""

    scoped_limits = ReplayedLimit(many=True, default=())
    budget_basis = serializers.ChoiceField(CusIntegration.BudgetBasis.choices)
    enforcement_level = serializers.ChoiceField(CusIntegration.EnforcementLevel.choices)
    allow_unpriced = serializers.BooleanField()

    def get_fields(self) -> dict[str, Any]:
        """The fields above, and one for each limit."""
        every = super().get_fields() | {
            limit.column: serializers.IntegerField() for limit in LIMITS
        }
        return {name: every[name] for name in (*PROPOSED, "scoped_limits")}


class SimulationOutput(serializers.ModelSerializer[CusSimulation]):
    """A simulation. `report` is null until it is done."""

    proposal = ProposalOutput()
    progress_percent = serializers.IntegerField()
    report = SimulationReport(source="result", allow_null=True)

    class Meta:
        model = CusSimulation
        fields = (
            "id",
            "integration_id",
            "status",
            "progress_percent",
            "rows",
            "days",
            "since",
            "until",
            "proposal",
            "error",
            "created_at",
            "finished_at",
            "report",
        )
