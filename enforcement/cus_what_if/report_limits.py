"""What each limit would have decided, with the money."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from aos_sdk.cus_limit_scopes import CusLimitScope
from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_rules.reasons import Reason
from enforcement.cus_what_if.in_flight import GivenUp
from enforcement.cus_what_if.replay import Outcome
from enforcement.cus_what_if.report_sums import Sum
from integrations.cus_lifecycle.limits import LIMITS, Limit

# So many values of a limit of each value are listed, and so many are told apart.
VALUES_LISTED: Final = 10
_VALUES: Final = 1_000
_OTHER_VALUES: Final = "(other values)"
_NOT_ALLOWED: Final = (Result.WARNED, Result.THROTTLED, Result.BLOCKED)
_OWN: Final = {limit.kind: limit for limit in LIMITS}
_SHOWN: Final = ("limit_id", "scope", "tag", "value", "unit", "window", "amount")
_TENANT_ALONE: Final = (
    "A limit of the tenant was replayed over the calls of this integration alone: calls of the "
    "tenant's other integrations would have taken of it, too."
)
# As `GivenUp` has them.
_GIVEN_UP: Final = (
    "There were more values than a replay counts at once. {:,} times a value was forgotten that had "
    "rested longest. If it came again it was counted anew, so limits of each value may have refused "
    "more than is told here.",
    "More calls were in flight than a replay remembers. Of {:,} calls the record counted before it "
    "came, in place of what was held.",
    "More calls were decided otherwise than a replay remembers. Of {:,} of them later attempts and "
    "revisions counted as those of other calls.",
)


class _Decided:
    """The calls that one limit would have warned or refused."""

    def __init__(self, shown: Mapping[str, Any], value: Any) -> None:
        self._shown = shown
        self._is_of_each = value is None
        self._sums = {result: Sum() for result in _NOT_ALLOWED}
        self._values: dict[str, Sum] = {}

    @property
    def refused_microcents(self) -> int:
        return sum(self._sums[one].microcents for one in (Result.THROTTLED, Result.BLOCKED))

    def add(self, outcome: Outcome, value: str | None) -> None:
        self._sums[outcome.decision.result].add(outcome.call.spent)
        if self._is_of_each and value is not None and not outcome.decision.admits:
            if value not in self._values and len(self._values) >= _VALUES:
                value = _OTHER_VALUES
            self._values.setdefault(value, Sum()).add(outcome.call.spent)

    def as_json(self) -> dict[str, Any]:
        dearest = sorted(self._values.items(), key=lambda pair: -pair[1].microcents)
        return {
            **self._shown,
            **{result.value: sums.as_json() for result, sums in self._sums.items()},
            "refused_values": [
                {"value": value, **sums.as_json()} for value, sums in dearest[:VALUES_LISTED]
            ],
        }


class LimitsOfReport:
    """Gathers what each limit decided: each call counts for the limit of its first reason."""

    def __init__(self, scoped: Sequence[Mapping[str, Any]]) -> None:
        self._scoped = scoped
        self._decided: dict[str, _Decided] = {}

    def add(self, outcome: Outcome, reason: Reason) -> None:
        """Count a call that the reason's limit would have warned or refused."""
        # Limits at scopes have their places in the proposal for ids.
        key = reason.limit_id or reason.limit_type
        if key is None or (reason.limit_id is None and key not in _OWN):
            return
        if key not in self._decided:
            self._decided[key] = self._new(reason, key)
        self._decided[key].add(outcome, reason.scope_value)

    def _new(self, reason: Reason, key: str) -> _Decided:
        if reason.limit_id is None:
            return _Decided(_own_shown(_OWN[key], reason), "")
        limit = self._scoped[int(key)]
        return _Decided({"limit": None} | {name: limit[name] for name in _SHOWN}, limit["value"])

    def as_json(self, *, most: int) -> list[dict[str, Any]]:
        """The limits that decided calls, those first whose refused calls cost most."""
        dearest = sorted(self._decided.values(), key=lambda one: -one.refused_microcents)
        return [one.as_json() for one in dearest[:most]]

    def notes(self, given_up: GivenUp) -> list[str]:
        """What the replay could not know, in words."""
        return list(self._notes(given_up))

    def _notes(self, given_up: GivenUp) -> Iterator[str]:
        if any(limit["scope"] == CusLimitScope.TENANT for limit in self._scoped):
            yield _TENANT_ALONE
        for number, note in zip(given_up, _GIVEN_UP, strict=True):
            if number:
                yield note.format(number)


def _own_shown(limit: Limit, reason: Reason) -> dict[str, Any]:
    return {
        "limit": limit.column,
        "limit_id": None,
        "scope": limit.scope,
        "tag": "",
        "value": "",
        "unit": limit.unit,
        "window": limit.window,
        "amount": reason.limit_value,
    }
