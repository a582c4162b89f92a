"""What limits at scopes should count and refuse, worked out from the whole history in plain Python.

It shares no code with the product: every question is answered by going through all calls again.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

NARROW = ("session_id", "end_user", "agent_id", "tag", "model", "integration", "tenant")
_MICRO = 1_000_000


@dataclass
class Amounts:
    """What a call takes: cents, and exact microcents, and tokens."""

    cents: int
    microcents: int
    tokens: int

    def of(self, unit: str, basis: str) -> int:
        if unit == "calls":
            return 1
        if unit == "tokens":
            return self.tokens
        return self.microcents if basis == "exact" else self.cents


@dataclass
class Call:
    """A call: what it names, what it holds from when, and what it used once it landed."""

    id: str
    names: dict[str, str]
    estimate: Amounts | None = None
    held_at: datetime | None = None
    received_at: datetime | None = None
    used: Amounts | None = None
    # It is of another integration of the tenant, whose calls only limits of the tenant count.
    elsewhere: bool = False
    # Microcents by which its cost was corrected, which windows of a minute do not count: they count
    # what calls were admitted with.
    corrected: int = 0


@dataclass
class Limit:
    """A limit, as a person made it."""

    id: str
    scope: str
    value: str | None
    unit: str
    window: str
    amount: int
    basis: str
    valid_from: datetime
    valid_until: datetime | None
    enabled: bool = True
    deleted: bool = False

    @property
    def kind(self) -> tuple[str, str, str]:
        return self.scope, self.unit, self.window

    @property
    def bound(self) -> int:
        return self.amount * (_MICRO if (self.unit, self.basis) == ("cents", "exact") else 1)


@dataclass
class Finding:
    """What the oracle says of a limit that applies to a call."""

    limit: Limit
    value: str
    used: int
    held: int


@dataclass
class Oracle:
    """All limits and calls that there ever were."""

    limits: list[Limit] = field(default_factory=list)
    calls: dict[str, Call] = field(default_factory=dict)

    def findings(self, call: Call, now: datetime) -> list[Finding]:
        """The limits that apply to a call, narrowest first, with what others took of them."""
        names = call.names
        chosen: dict[tuple[str, str, str], Limit] = {}
        for limit in self.limits:
            if limit.deleted or not limit.enabled or not _counts(limit, call):
                continue
            if limit.valid_from > now or (limit.valid_until and limit.valid_until <= now):
                continue
            best = chosen.get(limit.kind)
            if best is None or _beats(limit, best):
                chosen[limit.kind] = limit
        found = []
        for limit in chosen.values():
            value = _value(limit, names)
            others = [one for one in self.calls.values() if _is_same(limit, value, one)]
            used = sum(
                _used(limit, one) for one in others if one.used and _is_within(limit, one, now)
            )
            held = sum(
                one.estimate.of(limit.unit, limit.basis)
                for one in others
                if one.estimate and one.held_at and one.id != call.id and _holds(limit, one, now)
            )
            found.append(Finding(limit, value, max(used, 0), held))
        return sorted(found, key=lambda one: NARROW.index(one.limit.scope))

    def admits(self, findings: list[Finding], estimate: Amounts) -> bool:
        """Whether every limit has room for the call."""
        return all(
            one.used + one.held + estimate.of(one.limit.unit, one.limit.basis) <= one.limit.bound
            and one.used < one.limit.bound
            for one in findings
        )


def _beats(limit: Limit, other: Limit) -> bool:
    """The limit of that very value before the default, a temporary one before a permanent one, and
    of equals the latest."""
    if (limit.value is None) != (other.value is None):
        return limit.value is not None
    if (limit.valid_until is None) != (other.valid_until is None):
        return limit.valid_until is not None
    return True


def _value(limit: Limit, names: dict[str, str]) -> str:
    return "" if limit.scope in ("integration", "tenant") else names[limit.scope]


def _counts(limit: Limit, call: Call) -> bool:
    if limit.scope == "tenant" or call.elsewhere:
        return limit.scope == "tenant"
    if limit.scope == "integration":
        return True
    return limit.scope in call.names and limit.value in (None, call.names[limit.scope])


def _is_same(limit: Limit, value: str, call: Call) -> bool:
    if limit.scope == "tenant" or call.elsewhere:
        return limit.scope == "tenant"
    return limit.scope == "integration" or call.names.get(limit.scope) == value


def _second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _in_last_minute(moment: datetime, now: datetime) -> bool:
    return _second(moment) > now - timedelta(seconds=61)


def _is_within(limit: Limit, call: Call, now: datetime) -> bool:
    assert call.received_at
    if limit.window == "minute":
        return _in_last_minute(call.held_at or call.received_at, now)
    return _start(limit.window, call.received_at) == _start(limit.window, now)


def _used(limit: Limit, call: Call) -> int:
    assert call.used
    corrected = limit.basis == "exact" and limit.unit == "cents" and limit.window != "minute"
    return call.used.of(limit.unit, limit.basis) + (call.corrected if corrected else 0)


def _holds(limit: Limit, call: Call, now: datetime) -> bool:
    if call.used is not None:
        return False
    assert call.held_at
    return limit.window != "minute" or _in_last_minute(call.held_at, now)


def _start(window: str, moment: datetime) -> object:
    at = moment.astimezone(UTC)
    return {
        "day": at.date(),
        "week": at.isocalendar()[:2],
        "month": (at.year, at.month),
        "life": None,
    }[window]
