"""Which limits apply to a call, by what the call names: one rule for the server and its programs.

A limit has a scope (the calls that it counts together), a unit and a window. Of the limits that
count the same kind of thing, one applies to a call: the limit of that very value before the default
of each value, and a temporary limit before a permanent one.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar


class CusLimitScope(StrEnum):
    """The calls that a limit counts together. Stored facts hold these words: never remove one."""

    TENANT = "tenant"
    INTEGRATION = "integration"
    MODEL = "model"
    AGENT = "agent_id"
    SESSION = "session_id"
    END_USER = "end_user"
    TAG = "tag"


# The narrowest scope first, in the order in which findings of a step are named.
NARROWEST_FIRST = (
    CusLimitScope.SESSION,
    CusLimitScope.END_USER,
    CusLimitScope.AGENT,
    CusLimitScope.TAG,
    CusLimitScope.MODEL,
    CusLimitScope.INTEGRATION,
    CusLimitScope.TENANT,
)
# Scopes whose limits count all calls, whatever they name.
OF_ALL_CALLS = frozenset({CusLimitScope.TENANT, CusLimitScope.INTEGRATION})


class CusCallNames(NamedTuple):
    """What a call names: its model as asked for, and whose it is. `tags` are texts `key=value`."""

    model: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    end_user: str | None = None
    tags: Sequence[str] = ()

    def value(self, scope: str, tag: str) -> str | None:
        """The call's value of a scope; None if the call names none.

        Scopes of all calls have the value `""`. `tag` is the key of a tag, for that scope alone.
        """
        if scope in OF_ALL_CALLS:
            return ""
        if scope == CusLimitScope.TAG:
            return next((text[len(tag) + 1 :] for text in self.tags if _has_key(text, tag)), None)
        named: str | None = getattr(self, scope, None)
        return named or None


def _has_key(text: str, tag: str) -> bool:
    return text.startswith(tag) and text[len(tag) : len(tag) + 1] == "="


class CusLimitTerms(Protocol):
    """What a limit counts, and how much of it; `value` is None for each value of the scope."""

    @property
    def scope(self) -> str: ...
    @property
    def tag(self) -> str: ...
    @property
    def value(self) -> str | None: ...
    @property
    def unit(self) -> str: ...
    @property
    def window(self) -> str: ...
    @property
    def amount(self) -> int: ...


class CusScoped(CusLimitTerms, Protocol):
    """What the rule reads of a limit: its terms, and when it is valid, in seconds of the epoch.

    `valid_until` is None for a permanent limit.
    """

    @property
    def valid_from(self) -> float: ...
    @property
    def valid_until(self) -> float | None: ...


_Limit = TypeVar("_Limit", bound=CusScoped)


def applying(limits: Iterable[_Limit], names: CusCallNames, now: float) -> list[tuple[_Limit, str]]:
    """The limits that apply to a call now, narrowest scope first, each with the call's value.

    Limits of one scope, tag, unit and window count the same; of those, the last in `_rank` applies.
    `limits` are in the order in which they were made, so that of equals the latest applies. Of
    temporary limits the largest does: a second increase takes nothing back.
    """
    chosen: dict[tuple[str, str, str, str], tuple[_Limit, str]] = {}
    for limit in limits:
        if limit.valid_from > now or (limit.valid_until is not None and limit.valid_until <= now):
            continue
        value = names.value(limit.scope, limit.tag)
        if value is None or (limit.value is not None and limit.value != value):
            continue
        kind = (limit.scope, limit.tag, limit.unit, limit.window)
        before = chosen.get(kind)
        if before is None or _rank(before[0]) <= _rank(limit):
            chosen[kind] = (limit, value)
    return sorted(chosen.values(), key=_narrowness)


def _rank(limit: CusScoped) -> tuple[bool, bool, int]:
    is_temporary = limit.valid_until is not None
    return limit.value is not None, is_temporary, limit.amount if is_temporary else 0


def _narrowness(found: tuple[CusScoped, str]) -> int:
    return _PLACES.get(found[0].scope, len(_PLACES))


_PLACES = {str(scope): place for place, scope in enumerate(NARROWEST_FIRST)}
