"""What a call names, which limits count it, and what is taken of those that apply to it."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from aos_sdk.cus_limit_scopes import CusCallNames, CusLimitScope, applying
from enforcement.cus_reading.known_limits import CountedBy, KnownLimit
from enforcement.cus_reading.known_models import KnownModels
from enforcement.cus_rules.scoped import ScopedFact, binds, bound
from integrations.cus_lifecycle.end_users import CusEndUsers
from integrations.cus_lifecycle.limits import Unit, Window
from telemetry.cus_holds.limit_sums import LimitKey, LimitTaken, RunLimit
from telemetry.cus_money.amounts import LeaseAmounts

_UNITS: Final = {"cents": Unit.CENTS, "microcents": Unit.CENTS, "tokens": Unit.TOKENS}
_NOTHING: Final = LimitTaken()
_TENANT: Final = str(CusLimitScope.TENANT)


class Named(Protocol):
    """What says whose a call is: a check, or a request for a lease."""

    @property
    def model(self) -> str | None: ...
    @property
    def agent_id(self) -> str | None: ...
    @property
    def session_id(self) -> str | None: ...
    @property
    def end_user(self) -> str | None: ...
    @property
    def tags(self) -> Sequence[str] | None: ...


class CallScopes(NamedTuple):
    """What a call names, as its row will, and the limits that count it."""

    names: CusCallNames
    counting: Sequence[CountedBy] = ()

    @property
    def keys(self) -> Sequence[LimitKey]:
        """By these, what is taken of the limits is kept."""
        return [counted.key for counted in self.counting]

    @property
    def document(self) -> Mapping[str, Any]:
        """What the call names, as its hold keeps it."""
        named = {name: value for name, value in self.names._asdict().items() if value}
        return named | ({"tags": list(self.names.tags)} if self.names.tags else {})


def scopes_of(tenant_id: uuid.UUID, call: Named, known: KnownModels) -> CallScopes:
    """The scopes of a call of an integration of which this is known."""
    end_user = CusEndUsers(tenant_id).stored(call.end_user) if call.end_user else None
    model = call.model or known.default_model
    names = CusCallNames(model, call.agent_id, call.session_id, end_user, call.tags or ())
    return CallScopes(names, known.limits.counting(names) if known.limits.all else ())


def keys_of(scopes: Sequence[CallScopes]) -> list[LimitKey]:
    """The keys of all limits that count any of these calls, each once, in order."""
    if not any(call.counting for call in scopes):
        return []
    return sorted({counted.key for call in scopes for counted in call.counting})


def spans_integrations(scopes: Sequence[CallScopes]) -> bool:
    """Whether a limit counts one of these calls together with those of other integrations."""
    return any(counted.limit.scope == _TENANT for call in scopes for counted in call.counting)


def facts_at_scopes(
    scopes: CallScopes, run: RunLimit | None, taken: Mapping[LimitKey, LimitTaken], now: datetime
) -> tuple[ScopedFact, ...]:
    """The limits that apply to a call, narrowest scope first, with what is taken of each."""
    if not scopes.counting and run is None:
        return ()
    enabled = [counted.limit for counted in scopes.counting if counted.limit.enabled]
    found = [
        _fact(limit, value, taken.get((limit.id, value, limit.window), _NOTHING))
        for limit, value in applying(enabled, scopes.names, now.timestamp())
    ]
    return (*_facts_of_run(run, taken), *found) if run else tuple(found)


def _fact(limit: KnownLimit, value: str, taken: LimitTaken) -> ScopedFact:
    name = binds(limit.unit, limit.basis)
    return ScopedFact(
        id=limit.id,
        scope=limit.scope,
        tag=limit.tag,
        value=value,
        unit=Unit(limit.unit),
        window=Window(limit.window),
        binds=name,
        amount=bound(limit.amount, limit.unit, limit.basis),
        result=limit.result,
        warning_percent=limit.warning_percent,
        temporary=limit.valid_until is not None,
        used=getattr(taken.used, name),
        held=getattr(taken.held, name),
        leased=getattr(taken.leased, name),
    )


def _facts_of_run(run: RunLimit, taken: Mapping[LimitKey, LimitTaken]) -> list[ScopedFact]:
    """A run's budgets: nothing gives a run more room, so what does not fit is blocked."""
    of_run = taken.get(run.key, _NOTHING)
    return [
        ScopedFact(
            id=run.limit_id,
            scope=CusLimitScope.SESSION,
            value=run.session_id,
            unit=_UNITS.get(name, Unit.CALLS),
            window=Window.LIFE,
            binds=name,
            amount=amount,
            result="blocked",
            used=getattr(of_run.used, name),
            held=getattr(of_run.held, name),
            leased=getattr(of_run.leased, name),
        )
        for name in LeaseAmounts._fields
        if (amount := getattr(run, name)) is not None
    ]
