"""An integration's limits, each a row of data; pure, so that the ladder may read them.

The integration's fields, form and API, the ladder with its reasons, the explanation of decisions,
status and configuration iterate over `LIMITS`. What a limit in calls counts is read as
`telemetry.cus_holds.admissions` says; docs/architecture.md lists what a new limit needs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from aos_sdk.cus_wire import CusEnforcementResult as Result
from aos_sdk.cus_wire import CusReasonCode as Code

_T = TypeVar("_T")
_MOST: Final = 2**31 - 1
_MOST_BIG: Final = 2**63 - 1


class Unit(StrEnum):
    """What a limit counts. Cents are those of the integration's `budget_basis` (ruling M3)."""

    CENTS = "cents"
    TOKENS = "tokens"
    CALLS = "calls"


class Scope(StrEnum):
    """Whose calls a limit counts together."""

    INTEGRATION = "integration"


class Window(StrEnum):
    """Over which time a limit counts. Facts of decisions keep these words, so none is ever removed.

    `MINUTE`: the last 60 seconds. `MONTH`: the calendar's month, in UTC.
    """

    MINUTE = "minute"
    MONTH = "month"

    def end(self, moment: datetime) -> datetime | None:
        """When the window of a moment ends and counting starts anew; None where it slides."""
        ends = _ENDS.get(self)
        return ends(moment) if ends else None

    def wait_seconds(self, moment: datetime, end: datetime | None) -> int:
        """How long a caller waits until the window, which ends then, has room again."""
        if end is None:
            return _MINUTE_SECONDS
        return int((end - moment).total_seconds()) + 1


_MINUTE_SECONDS: Final = 60


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """When the month of a moment began and when it ends, in UTC."""
    at = moment.astimezone(UTC)
    return datetime(at.year, at.month, 1, tzinfo=UTC), month_end(at)


def month_end(moment: datetime) -> datetime:
    """When the month of a moment ends, in UTC."""
    at = moment.astimezone(UTC)
    years, month = divmod(at.month, 12)
    return datetime(at.year + years, month + 1, 1, tzinfo=UTC)


# When a window ends that the calendar has; the others slide.
_ENDS: Final[Mapping[Window, Callable[[datetime], datetime]]] = {Window.MONTH: month_end}


@dataclass(frozen=True)
class Rung:
    """A check of the ladder (§15.1): its number, what it comes to, and what people are told.

    `title` follows the step's number where decisions are explained. `message` may name `limit`,
    `used`, `held`, `estimate` and `percent`; amounts are put in as people read them.
    """

    step: int
    title: str
    result: Result
    code: Code
    message: str


@dataclass(frozen=True)
class Limit:
    """One limit. 0 means unlimited (ruling F3)."""

    # The integration's column, which is the limit's name in the API, too.
    column: str
    # What reasons call it (`limit_type`); a limit in cents has its box in the form by this name.
    kind: str
    # What the console calls the column, and what the OpenAPI document says of the field.
    label: str
    help: str
    unit: Unit
    scope: Scope
    window: Window
    # The largest value that the column takes.
    most: int
    # What `…/limits` calls it.
    shown_as: str
    reached: Rung
    near: Rung | None = None
    # The integration's other columns that say how the limit counts.
    settings: tuple[str, ...] = ()
    # Of a limit in calls: the field of `Admissions` that counts them, and what status calls that.
    admissions: str = ""
    admissions_shown_as: str = ""


BUDGET: Final = Limit(
    column="budget_limit_cents",
    kind="budget",
    label="monthly budget (cents)",
    help="A month; 0: no limit.",
    unit=Unit.CENTS,
    scope=Scope.INTEGRATION,
    window=Window.MONTH,
    most=_MOST,
    shown_as="budget",
    settings=("budget_basis",),
    reached=Rung(
        step=4,
        title="the budget",
        result=Result.BLOCKED,
        code=Code.BUDGET_EXCEEDED,
        message="The monthly budget of {limit} has no room: {used} used, {held} held by running "
        "calls, and this call may cost {estimate}.",
    ),
    near=Rung(
        step=7,
        title="is the budget nearly used",
        result=Result.WARNED,
        code=Code.BUDGET_WARNING,
        message="{used} used and {held} held of the monthly budget of {limit}: {percent} % or "
        "more.",
    ),
)
TOKENS: Final = Limit(
    column="token_limit_month",
    kind="tokens",
    label="monthly tokens",
    help="0: no limit.",
    unit=Unit.TOKENS,
    scope=Scope.INTEGRATION,
    window=Window.MONTH,
    most=_MOST_BIG,
    shown_as="token_limit",
    reached=Rung(
        step=5,
        title="the token limit",
        result=Result.BLOCKED,
        code=Code.TOKEN_LIMIT_EXCEEDED,
        message="The monthly limit of {limit} tokens has no room: {used} used, {held} held by "
        "running calls, and this call may take {estimate}.",
    ),
    near=Rung(
        step=8,
        title="are the tokens nearly used",
        result=Result.WARNED,
        code=Code.TOKEN_WARNING,
        message="{used} used and {held} held of {limit} monthly tokens: {percent} % or more.",
    ),
)
RATE: Final = Limit(
    column="rate_limit_rpm",
    kind="rate",
    label="calls a minute",
    help="Calls a minute; 0: no limit.",
    unit=Unit.CALLS,
    scope=Scope.INTEGRATION,
    window=Window.MINUTE,
    most=_MOST,
    shown_as="rate_limit_rpm",
    admissions="admitted",
    admissions_shown_as="admitted_last_minute",
    reached=Rung(
        step=6,
        title="the rate limit",
        result=Result.THROTTLED,
        code=Code.RATE_LIMIT_EXCEEDED,
        message="{used} calls began within the last 60 seconds; the limit is {limit}.",
    ),
)
# In the order in which they are shown, and checked within a step.
LIMITS: Final = (BUDGET, TOKENS, RATE)


class LimitColumns(msgspec.Struct, frozen=True, kw_only=True):
    """The limits' columns, as facts of decisions keep them.

    A limit that comes after release 0.1.0 has the default 0: facts of before do not have it.
    """

    budget_limit_cents: int
    token_limit_month: int
    rate_limit_rpm: int


class Admissions(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that were let in (ruling F4): a field for each limit in calls, over its window.

    A field that comes after release 0.1.0 has the default 0, too.
    """

    admitted: int = 0


# The limits' columns, each followed by those that say how it counts.
LIMIT_COLUMNS: Final = tuple(
    column for limit in LIMITS for column in (limit.column, *limit.settings)
)
CALL_LIMITS: Final = tuple(limit for limit in LIMITS if limit.unit is Unit.CALLS)


def admissions_of(counts: Sequence[int]) -> dict[str, int]:
    """The fields of `Admissions`, from counts in the order of `CALL_LIMITS`."""
    return {limit.admissions: count for limit, count in zip(CALL_LIMITS, counts, strict=True)}


def placed_after(name: str, fields: Mapping[str, _T], together: Mapping[str, _T]) -> dict[str, _T]:
    """The fields, with those of `together` after the field of that name and nowhere else."""
    placed: dict[str, _T] = {}
    for field, value in fields.items():
        if field not in together:
            placed[field] = value
        if field == name:
            placed |= together
    return placed
