"""What a call names, which limits count it, and what is taken of those that apply to it."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from aos_sdk.cus_limit_scopes import CusCallNames, CusLimitScope, applying
from enforcement.cus_reading.known_limits import CountedBy, KnownLimit
from enforcement.cus_reading.known_models import KnownModels
from enforcement.cus_rules.scoped import ScopedFact, binds, bound, fact_of
from integrations.cus_lifecycle.end_users import CusEndUsers
from integrations.cus_lifecycle.limits import Unit, Window
from telemetry.cus_evidence.names import name_as_stored, tags_as_stored
from telemetry.cus_holds.limit_sums import AskedLimit, LimitKey, LimitTaken, RunLimit, Share
from telemetry.cus_money.amounts import LeaseAmounts

_UNITS: Final = {"cents": Unit.CENTS, "microcents": Unit.CENTS, "tokens": Unit.TOKENS}
_NOTHING: Final = LimitTaken()
_TENANT: Final = str(CusLimitScope.TENANT)


class HasSession(Protocol):
    """What says of which session a call is."""

    @property
    def session_id(self) -> str | None: ...


class Named(HasSession, Protocol):
    """What says whose a call is: a check, or a request for a lease."""

    @property
    def model(self) -> str | None: ...
    @property
    def agent_id(self) -> str | None: ...
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
    def asked(self) -> Sequence[AskedLimit]:
        """What a reading is asked of the limits: their keys, and what those of the tenant bind."""
        return [_asked(counted) for counted in self.counting]

    @property
    def document(self) -> Mapping[str, Any]:
        """What the call names, as its hold keeps it."""
        named = {name: value for name, value in self.names._asdict().items() if value}
        return named | ({"tags": list(self.names.tags)} if self.names.tags else {})


def scopes_of(tenant_id: uuid.UUID, call: Named, known: KnownModels) -> CallScopes:
    """The scopes of a call of an integration of which this is known."""
    end_user = _name("end_user", call.end_user)
    names = CusCallNames(
        call.model or known.default_model,
        _name("agent_id", call.agent_id),
        session_of(call),
        CusEndUsers(tenant_id).stored(end_user),
        tags_as_stored(tuple(call.tags)) if call.tags else (),
    )
    return CallScopes(names, known.limits.counting(names) if known.limits.all else ())


def session_of(call: HasSession) -> str | None:
    """The session of a call, as its row will name it."""
    return _name("session_id", call.session_id)


def _name(field: str, text: str | None) -> str | None:
    return name_as_stored(field, text) or None if text else None


def asked_of(scopes: Sequence[CallScopes]) -> list[AskedLimit]:
    """What is asked of all limits that count any of these calls, each once, in order."""
    if not any(call.counting for call in scopes):
        return []
    return sorted({one for call in scopes for one in call.asked})


def _asked(counted: CountedBy) -> AskedLimit:
    limit = counted.limit
    shared = (binds(limit.unit, limit.basis),) if limit.scope == _TENANT else ()
    return (*counted.key, *shared)


def facts_at_scopes(
    scopes: CallScopes,
    run: RunLimit | None,
    taken: Mapping[LimitKey, LimitTaken],
    now: datetime,
    admitted_by: Collection[LimitKey] = (),
) -> tuple[ScopedFact, ...]:
    """The limits that apply to a call, narrowest scope first, with what is taken of each.

    `admitted_by`: the limits that count the call's hold.
    """
    if not scopes.counting and run is None:
        return ()
    found = _at_scopes(scopes, taken, now, admitted_by)
    if run is None:
        return tuple(found)
    return (*_facts_of_run(run, taken, admitted_before=run.key in admitted_by), *found)


def _at_scopes(
    scopes: CallScopes,
    taken: Mapping[LimitKey, LimitTaken],
    now: datetime,
    admitted_by: Collection[LimitKey],
) -> list[ScopedFact]:
    enabled = [counted.limit for counted in scopes.counting if counted.limit.enabled]
    return [
        _fact(limit, value, taken.get(key, _NOTHING), admitted_before=key in admitted_by)
        for limit, value in applying(enabled, scopes.names, now.timestamp())
        for key in ((limit.id, value, limit.window),)
    ]


def _fact(limit: KnownLimit, value: str, taken: LimitTaken, *, admitted_before: bool) -> ScopedFact:
    name = binds(limit.unit, limit.basis)
    return fact_of(
        limit,
        value,
        used=getattr(taken.used, name),
        held=getattr(taken.held, name),
        leased=getattr(taken.leased, name),
        elsewhere=_elsewhere(limit, taken.share) if taken.share else 0,
        admitted_before=admitted_before,
    )


def _elsewhere(limit: KnownLimit, share: Share) -> int:
    return share.elsewhere(bound(limit.amount, limit.unit, limit.basis))


def _facts_of_run(
    run: RunLimit, taken: Mapping[LimitKey, LimitTaken], *, admitted_before: bool
) -> list[ScopedFact]:
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
            admitted_before=admitted_before,
        )
        for name in LeaseAmounts._fields
        if (amount := getattr(run, name)) is not None
    ]
