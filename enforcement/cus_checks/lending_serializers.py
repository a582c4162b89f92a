"""The OpenAPI description of leases."""

from rest_framework import serializers

from aos_sdk import cus_wire as wire
from enforcement.cus_checks.serializers import (
    AMOUNTS,
    AmountsResult,
    CheckResult,
    RunBudgetSchema,
    amount,
    name_of,
    tags_of_call,
)
from integrations.cus_lifecycle.limits import LIMITS
from integrations.cus_limits.models import CusScopedLimit

_OWN = [limit.column for limit in LIMITS]


class SetAsideSchema(serializers.Serializer[object]):
    """What a holder set aside for calls, whether they have landed or not."""

    cents = amount()
    microcents = amount()
    tokens = amount()
    calls = amount()


class CallEstimateSchema(serializers.Serializer[object]):
    """What one call may take; each amount counts as 1 at least."""

    cents = amount(required=False)
    microcents = amount(required=False)
    tokens = amount(required=False)


class OverLeaseSchema(serializers.Serializer[object]):
    """A lease under which no call will begin any more."""

    lease_id = serializers.UUIDField()
    set_aside = SetAsideSchema(help_text="All that was ever set aside of it.")


class LeaseScopesSchema(serializers.Serializer[object]):
    """What every call of the lease names, of the scopes of which there are limits."""

    model = serializers.CharField(max_length=wire.MAX_MODEL_LENGTH, required=False, allow_null=True)
    agent_id = name_of(wire.MAX_AGENT_ID_LENGTH)
    session_id = name_of(wire.MAX_SESSION_ID_LENGTH)
    end_user = name_of(wire.MAX_END_USER_LENGTH)
    tags = tags_of_call()


class LeaseSchema(serializers.Serializer[object]):
    """A program that decides by itself, and what it says of its leases and calls."""

    holder_id = serializers.RegexField(
        rf"^[^\x00]{{1,{wire.MAX_HOLDER_ID_LENGTH}}}$",
        help_text="One for each process and integration.",
    )
    estimate = CallEstimateSchema(help_text="Of the call at hand, or of the largest call of late.")
    lease_id = serializers.UUIDField(
        required=False, allow_null=True, help_text="The lease in use until this answer."
    )
    returns = OverLeaseSchema(many=True, required=False, help_text="Leases that are over; ≤ 100.")
    running = serializers.ListField(
        child=serializers.RegexField(r"^[!-~]{1,100}$"),
        max_length=wire.MAX_RUNNING_CALLS,
        required=False,
        help_text="Checked calls that still run: their holds are renewed.",
    )
    keep = serializers.ListField(
        child=serializers.UUIDField(),
        max_length=wire.MAX_KEPT_LEASES,
        required=False,
        help_text="Earlier leases with calls that still run.",
    )
    is_durable = serializers.BooleanField(
        required=False, help_text="What is set aside is on a disk that outlives the program."
    )
    spent = SetAsideSchema(
        required=False, allow_null=True, help_text="Set aside since the last lease."
    )
    scopes = LeaseScopesSchema(
        required=False,
        allow_null=True,
        help_text="Without it there is no lease while the integration has a limit at a scope.",
    )
    run = RunBudgetSchema(
        required=False, allow_null=True, help_text="The budget in code of the session in scopes."
    )


class SliceResult(serializers.Serializer[object]):
    """The part of a limit that the lease is."""

    limit_id = serializers.CharField(
        help_text=f"The id of a limit at a scope, or one of {', '.join(_OWN)}."
    )
    unit = serializers.ChoiceField(AMOUNTS)
    amount = serializers.IntegerField()
    value = serializers.CharField(required=False, help_text="Of a limit at a scope.")
    window = serializers.ChoiceField(CusScopedLimit.Window.choices, required=False)


class LeaseResult(AmountsResult):
    """A lease, or none: then a check decides each call. Amounts are 0 without a lease."""

    calls = serializers.IntegerField()
    lease_id = serializers.UUIDField(allow_null=True)
    slices = SliceResult(many=True, help_text="One for each limit that is set.")
    valid_for_ms = serializers.IntegerField(
        help_text="From before the request, on the program's monotonic clock."
    )
    config_version = serializers.IntegerField(allow_null=True)
    returned = serializers.ListField(
        child=serializers.UUIDField(), help_text="Of `returns`, those not to be named again."
    )
    decision = CheckResult(help_text="The verdict that a call of the estimate would get now.")


class LeaseEndSchema(serializers.Serializer[object]):
    """What was set aside of the lease that ends."""

    set_aside = SetAsideSchema(help_text="All that was ever set aside of it.")


class LeaseEndResult(serializers.Serializer[object]):
    """The lease's id; empty while its calls are just landing: then send this again."""

    returned = serializers.ListField(child=serializers.UUIDField())
