"""The OpenAPI description of enforcement, and the decision log's filters and rows."""

from typing import Any

from rest_framework import serializers

from aos_sdk import cus_wire as wire
from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_lifecycle.limits import LIMIT_COLUMNS, LIMITS, RATES, placed_after
from integrations.cus_lifecycle.models import ESTIMATE_PROMISES
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_stops.models import CusStop
from integrations.cus_web.strict_fields import StrictChoice, StrictInput, StrictMoment
from telemetry.cus_money.amounts import LeaseAmounts

_BIGGEST = 2**63 - 1
# A limit, the bound of holds or of budgets in code, or what a stop is of.
_LIMIT_TYPES = [*(limit.kind for limit in LIMITS), "holds", "runs", *CusStop.Scope.values]
# The document names these sets of words (`ENUM_NAME_OVERRIDES`).
LIMIT_SCOPES = CusScopedLimit.Scope.choices
LIMIT_UNITS = CusScopedLimit.Unit.choices
LIMIT_RESULTS = CusScopedLimit.Result.choices
STOP_SCOPES = CusStop.Scope.choices
AMOUNTS = list(LeaseAmounts._fields)
RESULTS = [result.value for result in wire.CusEnforcementResult]


def amount(**more: Any) -> serializers.IntegerField:
    """The field of an amount that programs send."""
    return serializers.IntegerField(min_value=0, max_value=_BIGGEST, **more)


def name_of(length: int) -> serializers.CharField:
    """The field of a name that calls give."""
    return serializers.CharField(
        max_length=length, required=False, allow_null=True, help_text="As its record will say."
    )


def tags_of_call() -> serializers.ListField:
    """The field of a call's tags."""
    return serializers.ListField(
        child=serializers.CharField(max_length=wire.MAX_TAG_LENGTH),
        max_length=wire.MAX_TAGS,
        required=False,
        allow_null=True,
    )


class RunBudgetSchema(serializers.Serializer[object]):
    """What a session may use in all, as its program says in code. The least of several counts."""

    cents = amount(required=False, allow_null=True)
    microcents = amount(required=False, allow_null=True)
    tokens = amount(required=False, allow_null=True)
    calls = amount(required=False, allow_null=True)


class CheckSchema(serializers.Serializer[object]):
    """A call that wants to run. A missing estimate counts as the most that the model can do."""

    call_id = serializers.RegexField(
        r"^[!-~]{1,100}$", help_text="A second check with the same id renews the call's hold."
    )
    model = serializers.CharField(max_length=wire.MAX_MODEL_LENGTH, required=False, allow_null=True)
    estimated_tokens = amount(required=False, allow_null=True)
    estimated_cost_cents = amount(required=False, allow_null=True)
    estimated_cost_microcents = amount(required=False, allow_null=True)
    reserve = serializers.BooleanField(required=False)
    agent_id = name_of(wire.MAX_AGENT_ID_LENGTH)
    session_id = name_of(wire.MAX_SESSION_ID_LENGTH)
    end_user = name_of(wire.MAX_END_USER_LENGTH)
    tags = tags_of_call()
    run = RunBudgetSchema(
        required=False,
        allow_null=True,
        help_text="The budget in code of the session that is named.",
    )


class CheckBatchSchema(serializers.Serializer[object]):
    """1 to 100 calls."""

    requests = CheckSchema(many=True)


class ReasonResult(serializers.Serializer[object]):
    """Why. Values are cents, tokens or calls, by limit_type."""

    code = serializers.ChoiceField([code.value for code in wire.CusReasonCode])
    message = serializers.CharField()
    action = serializers.CharField()
    limit_type = serializers.ChoiceField(_LIMIT_TYPES, allow_null=True)
    limit_value = serializers.IntegerField(allow_null=True)
    current_value = serializers.IntegerField(allow_null=True)
    held_value = serializers.IntegerField(allow_null=True)
    threshold_percent = serializers.IntegerField(allow_null=True)
    retry_after_seconds = serializers.IntegerField(allow_null=True)
    limit_id = serializers.UUIDField(allow_null=True, help_text="Of a limit at a scope.")
    scope = serializers.ChoiceField(LIMIT_SCOPES, allow_null=True)
    scope_value = serializers.CharField(allow_null=True)
    window = serializers.ChoiceField(CusScopedLimit.Window.choices, allow_null=True)


class CheckResult(serializers.Serializer[object]):
    """The verdict. Retry-After stands beside it when throttled."""

    result = serializers.ChoiceField(RESULTS)
    call_id = serializers.CharField()
    tenant_id = serializers.UUIDField()
    integration_id = serializers.UUIDField()
    reasons = ReasonResult(many=True)
    degraded = serializers.BooleanField()
    retry_after_seconds = serializers.IntegerField(allow_null=True)
    hold_expires_at = serializers.DateTimeField(allow_null=True)
    enforcement_level = serializers.CharField(allow_null=True)
    config_version = serializers.IntegerField(allow_null=True)
    evaluated_at = serializers.DateTimeField()
    run_raised = RunBudgetSchema(
        allow_null=True,
        help_text="What a person has raised of the session's budget in code, which counts instead; "
        "null where no such budget was read.",
    )


class CheckBatchResult(serializers.Serializer[object]):
    """The verdicts, in the order asked."""

    decisions = CheckResult(many=True)


class OwnPriceResult(serializers.Serializer[object]):
    """A price of the tenant's own, as it was appended."""

    id = serializers.UUIDField()
    model = serializers.CharField()
    prices = serializers.DictField(
        help_text="What it changes of the list's price, or all there is if `replaces_list`."
    )
    valid_from = serializers.DateTimeField()
    integration_id = serializers.UUIDField(
        allow_null=True, help_text="Null: it holds for all integrations of the tenant."
    )
    provider = serializers.CharField(
        allow_null=True, help_text="It holds for calls that go to this provider alone."
    )
    host = serializers.CharField(
        allow_null=True, help_text="It holds for calls that go to this host alone."
    )
    replaces_list = serializers.BooleanField()


class LearnedOutputResult(serializers.Serializer[object]):
    """What a call of a model and operation is held for, by the output of its last calls."""

    model = serializers.CharField(help_text="As asked for.")
    operation = serializers.CharField()
    output_tokens = serializers.IntegerField()
    calls = serializers.IntegerField(help_text="How many calls it was learned from.")


class AnsweringModelsResult(serializers.Serializer[object]):
    """The models that answered to a name within seven days, such as an Azure deployment's."""

    name = serializers.CharField()
    models = serializers.ListField(child=serializers.CharField())


class LimitsResult(serializers.Serializer[object]):
    """The status and the limits of an integration. A limit of 0 means unlimited."""

    tenant_id = serializers.UUIDField()
    integration_id = serializers.UUIDField()
    status = serializers.CharField()
    enforcement_level = serializers.CharField()
    budget_basis = serializers.CharField()
    estimate_basis = serializers.CharField(help_text=ESTIMATE_PROMISES)
    config_version = serializers.IntegerField()

    def get_fields(self) -> dict[str, Any]:
        """The fields above, and one for each limit."""
        fields: dict[str, Any] = super().get_fields()
        every = fields | {limit.column: serializers.IntegerField() for limit in LIMITS}
        together = {column: every[column] for column in LIMIT_COLUMNS}
        return placed_after("enforcement_level", fields, together)


class StopResult(serializers.Serializer[object]):
    """Calls that name this are refused."""

    scope = serializers.ChoiceField(STOP_SCOPES)
    value = serializers.CharField()
    reason = serializers.CharField()


class LimitResult(serializers.Serializer[object]):
    """A limit at a scope that is enabled and not over."""

    id = serializers.UUIDField()
    scope = serializers.ChoiceField(LIMIT_SCOPES)
    tag = serializers.CharField(help_text="The key of a tag, for that scope.")
    value = serializers.CharField(allow_null=True, help_text="Null: each value by itself.")
    unit = serializers.ChoiceField(LIMIT_UNITS)
    window = serializers.ChoiceField(CusScopedLimit.Window.choices)
    amount = serializers.IntegerField()
    basis = serializers.ChoiceField(CusScopedLimit.Basis.choices)
    result = serializers.ChoiceField(LIMIT_RESULTS)
    valid_from = serializers.DateTimeField()
    valid_until = serializers.DateTimeField(allow_null=True)


class ConfigResult(LimitsResult):
    """The configuration by which an SDK decides when the server is away."""

    provider_type = serializers.CharField()
    default_model = serializers.CharField(allow_null=True)
    credential_state = serializers.CharField()
    allow_unpriced = serializers.BooleanField()
    is_limited = serializers.BooleanField(
        help_text="Whether a limit is set, so that a call has to be checked before it runs."
    )
    warning_threshold_percent = serializers.IntegerField()
    overrides = OwnPriceResult(many=True)
    learned_outputs = LearnedOutputResult(
        many=True, help_text="Empty unless the estimate basis is learned."
    )
    answering_models = AnsweringModelsResult(many=True)
    stops = StopResult(many=True)
    limits = LimitResult(many=True)


class AmountsResult(serializers.Serializer[object]):
    """Cost in both units, and tokens."""

    cents = serializers.IntegerField()
    microcents = serializers.IntegerField()
    tokens = serializers.IntegerField()


class LimitTakenResult(serializers.Serializer[object]):
    """A limit at a scope that counts all calls, and what is taken of it, in the unit in which it binds."""

    id = serializers.UUIDField()
    scope = serializers.ChoiceField(LIMIT_SCOPES)
    unit = serializers.ChoiceField(AMOUNTS)
    window = serializers.ChoiceField(CusScopedLimit.Window.choices)
    amount = serializers.IntegerField()
    used = serializers.IntegerField()
    held = serializers.IntegerField()
    leased = serializers.IntegerField()


class StatusResult(LimitsResult):
    """An integration's limits, usage and current verdict, this month."""

    used = AmountsResult()
    held = AmountsResult()
    leased = AmountsResult()
    limits = LimitTakenResult(many=True)
    period_end = serializers.DateTimeField()
    coverage_percent = serializers.FloatField(allow_null=True)
    result = serializers.ChoiceField(RESULTS)
    reasons = ReasonResult(many=True)
    evaluated_at = serializers.DateTimeField()

    def get_fields(self) -> dict[str, Any]:
        """The fields above, and what each rate counts."""
        counts = {limit.admissions_shown_as: serializers.IntegerField() for limit in RATES}
        return placed_after("leased", super().get_fields(), counts)


class DecisionFilters(StrictInput):
    """Which decisions: those of a call, an integration, a result, received from … to …."""

    call_id = serializers.RegexField(r"^[!-~]{1,100}$", required=False)
    integration_id = serializers.UUIDField(required=False)
    result = StrictChoice(RESULTS, required=False)
    to = StrictMoment(required=False)

    def get_fields(self) -> dict[str, Any]:
        """The fields above and `from`, which is a keyword of Python and so can't be an attribute."""
        return placed_after("result", super().get_fields(), {"from": StrictMoment(required=False)})


_LOOKUPS = {"from": "created_at__gte", "to": "created_at__lt"}


def lookups_of(filters: dict[str, Any]) -> dict[str, Any]:
    """The checked filters as Django's lookups."""
    return {_LOOKUPS.get(name, name): value for name, value in filters.items()}


class DecisionOutput(serializers.ModelSerializer[CusEnforcementDecision]):
    """A decision of the log, with its facts."""

    class Meta:
        model = CusEnforcementDecision
        fields = [
            "id",
            "tenant_id",
            "integration_id",
            "call_id",
            "result",
            "reason",
            "step",
            "degraded",
            "decided_by",
            "reasons",
            "facts",
            "evaluated_at",
            "created_at",
        ]
