"""The shapes of the answers to `POST /enforcement/check`, and of their parts."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec

from aos_sdk.cus_wire import CusEnforcementResult
from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.rounds import Verdict
from enforcement.cus_reading.known_limits import KnownLimit, LimitTerms
from enforcement.cus_rules.reasons import Reason
from enforcement.cus_rules.scoped import ScopedFact


class CheckAnswer(msgspec.Struct, kw_only=True):
    """The verdict on one call."""

    result: CusEnforcementResult
    call_id: str
    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    reasons: Sequence[Reason]
    degraded: bool
    retry_after_seconds: int | None
    hold_expires_at: datetime | None
    enforcement_level: str | None
    config_version: int | None
    evaluated_at: datetime
    # What a person has raised of the budget in code of the call's session, by unit; None where no
    # budget of it was read.
    run_raised: Mapping[str, int] | None = None


class OwnPriceAnswer(msgspec.Struct):
    """A price of the tenant's own, as it was appended, of the whole tenant or this integration.

    `prices` says what it changes of the list's price, or all there is if `replaces_list`. Limited
    to a provider or a host, it holds for calls that go there.
    """

    id: uuid.UUID
    model: str
    prices: dict[str, Any]
    valid_from: datetime
    integration_id: uuid.UUID | None
    provider: str | None
    host: str | None
    replaces_list: bool


class LearnedOutputAnswer(msgspec.Struct):
    """The output that a call of a model and operation is held for, and by how many calls."""

    model: str
    operation: str
    output_tokens: int
    calls: int


class AnsweringModelsAnswer(msgspec.Struct):
    """The models that answered to a name of late."""

    name: str
    models: Sequence[str]


class LimitAnswer(LimitTerms, frozen=True, kw_only=True):
    """A limit at a scope, as programs apply it."""

    valid_from: datetime
    valid_until: datetime | None

    @classmethod
    def of(cls, limit: KnownLimit) -> "LimitAnswer":
        """The answer that tells a limit."""
        until = limit.valid_until
        return cls(
            *_terms(limit),
            valid_from=datetime.fromtimestamp(limit.valid_from, UTC),
            valid_until=None if until is None else datetime.fromtimestamp(until, UTC),
        )


_terms = attrgetter(*LimitTerms.__struct_fields__)


class LimitTakenAnswer(msgspec.Struct, kw_only=True):
    """A limit at a scope that counts all calls, and what is taken of it.

    Amounts are in `unit`: "cents", "microcents", "tokens" or "calls", as the limit binds.
    """

    id: str
    scope: str
    unit: str
    window: str
    amount: int
    used: int
    held: int
    leased: int

    @classmethod
    def of(cls, fact: ScopedFact) -> "LimitTakenAnswer":
        """The answer that tells of a limit."""
        return cls(
            id=fact.id,
            scope=fact.scope,
            unit=fact.binds,
            window=fact.window,
            amount=fact.amount,
            used=fact.used,
            held=fact.held,
            leased=fact.leased,
        )


class AmountsAnswer(msgspec.Struct):
    """Cost in both units, and tokens."""

    cents: int
    microcents: int
    tokens: int


def answer_of(caller: Caller, verdict: Verdict) -> CheckAnswer:
    """The answer that carries a verdict."""
    facts, decision = verdict.facts, verdict.decision
    authority = facts.authority
    return CheckAnswer(
        result=decision.result,
        call_id=facts.call_id,
        tenant_id=caller.tenant_id,
        integration_id=caller.integration_id,
        reasons=decision.reasons,
        degraded=decision.degraded,
        retry_after_seconds=decision.retry_after_seconds,
        hold_expires_at=verdict.hold_expires_at,
        enforcement_level=authority.enforcement_level if authority else None,
        config_version=authority.config_version if authority else None,
        evaluated_at=facts.evaluated_at,
        run_raised=verdict.run_raised,
    )
