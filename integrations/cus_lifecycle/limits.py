"""An integration's limits, each a row of data. Pure, because the ladder of checks imports them.

The integration's fields, form and API, the ladder with its reasons, the explanation of decisions,
status and configuration iterate over `LIMITS`. `telemetry.cus_holds.admissions` reads the
admissions that a rate counts; docs/architecture.md lists the steps to add a limit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from aos_sdk.cus_limit_scopes import CusLimitScope
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


class Window(StrEnum):
    """The time over which a limit counts. Stored facts hold these words, so never remove one.

    `MINUTE`: the last 60 seconds. `DAY`, `WEEK` (ISO, from Monday) and `MONTH`: those of the
    calendar, in UTC. `LIFE`: all time.
    """

    MINUTE = "minute"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    LIFE = "life"

    @property
    def over(self) -> str:
        """Over which time the limit counts, for people, after its amount: "a day"."""
        return "for good" if self is Window.LIFE else f"a {self.value}"

    def start(self, moment: datetime) -> datetime | None:
        """When the window of a moment began; None if it slides, or always was."""
        starts = _STARTS.get(self)
        return starts(moment) if starts else None

    def end(self, moment: datetime) -> datetime | None:
        """When the window of a moment ends and counting starts anew; None if it slides, or never ends."""
        ends = _ENDS.get(self)
        return ends(moment) if ends else None

    def wait_seconds(self, moment: datetime, end: datetime | None) -> int:
        """Seconds until the window has room again; `end` is when the window ends."""
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


def day_start(moment: datetime) -> datetime:
    """When the day of a moment began, in UTC."""
    at = moment.astimezone(UTC)
    return datetime(at.year, at.month, at.day, tzinfo=UTC)


def day_end(moment: datetime) -> datetime:
    """When the day of a moment ends, in UTC."""
    return day_start(moment) + timedelta(days=1)


def week_start(moment: datetime) -> datetime:
    """When the ISO week of a moment began, in UTC."""
    day = day_start(moment)
    return day - timedelta(days=day.weekday())


def week_end(moment: datetime) -> datetime:
    """When the ISO week of a moment ends, in UTC."""
    return week_start(moment) + timedelta(days=7)


# The starts of the calendar's windows; other windows slide, or always were.
_STARTS: Final[Mapping[Window, Callable[[datetime], datetime]]] = {
    Window.DAY: day_start,
    Window.WEEK: week_start,
    Window.MONTH: lambda moment: month_of(moment)[0],
}
# The ends of the calendar's windows; other windows slide.
_ENDS: Final[Mapping[Window, Callable[[datetime], datetime]]] = {
    Window.DAY: day_end,
    Window.WEEK: week_end,
    Window.MONTH: month_end,
}


@dataclass(frozen=True)
class Rung:
    """A check of the ladder (§15.1): its number, its result, and its texts for people.

    `title` follows the step's number in explanations of decisions. `message` may contain `{limit}`,
    `{used}`, `{held}`, `{estimate}`, `{room}` and `{percent}`; amounts are texts for people.
    """

    step: int
    title: str
    result: Result
    code: Code
    message: str


@dataclass(frozen=True)
class Limit:
    """One limit. 0 means unlimited (ruling F3)."""

    # The integration's column, and the limit's name in the API.
    column: str
    # The limit's name in reasons (`limit_type`), and of the form's box of a limit in cents.
    kind: str
    # The column's label in the console, and the field's description in the OpenAPI document.
    label: str
    help: str
    unit: Unit
    scope: CusLimitScope
    window: Window
    # The largest value that the column takes.
    most: int
    # The limit's name in `…/limits`.
    shown_as: str
    reached: Rung
    near: Rung | None = None
    # The integration's other columns that change how the limit counts.
    settings: tuple[str, ...] = ()
    # For a limit of what was admitted (a rate): the field of `Admissions` that counts it, and the
    # field's name in status.
    admissions: str = ""
    admissions_shown_as: str = ""


BUDGET: Final = Limit(
    column="budget_limit_cents",
    kind="budget",
    label="monthly budget (cents)",
    help="A month; 0: no limit.",
    unit=Unit.CENTS,
    scope=CusLimitScope.INTEGRATION,
    window=Window.MONTH,
    most=_MOST,
    shown_as="budget",
    # The estimate basis counts for tokens as well.
    settings=("budget_basis", "estimate_basis"),
    reached=Rung(
        step=4,
        title="the budget",
        result=Result.BLOCKED,
        code=Code.BUDGET_EXCEEDED,
        message="The monthly budget of {limit} has no {room}: {used} used, {held} held by running "
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
    scope=CusLimitScope.INTEGRATION,
    window=Window.MONTH,
    most=_MOST_BIG,
    shown_as="token_limit",
    reached=Rung(
        step=5,
        title="the token limit",
        result=Result.BLOCKED,
        code=Code.TOKEN_LIMIT_EXCEEDED,
        message="The monthly limit of {limit} tokens has no {room}: {used} used, {held} held by "
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
    scope=CusLimitScope.INTEGRATION,
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
TOKEN_RATE: Final = Limit(
    column="rate_limit_tpm",
    kind="tpm",
    label="tokens a minute",
    help="Tokens a minute, of admitted calls; 0: no limit.",
    unit=Unit.TOKENS,
    scope=CusLimitScope.INTEGRATION,
    window=Window.MINUTE,
    most=_MOST_BIG,
    shown_as="rate_limit_tpm",
    admissions="admitted_tokens",
    admissions_shown_as="admitted_tokens_last_minute",
    reached=Rung(
        step=6,
        title="the limit of tokens a minute",
        result=Result.THROTTLED,
        code=Code.RATE_LIMIT_EXCEEDED,
        message="The limit of {limit} tokens a minute has no {room}: calls of the last 60 seconds "
        "take {used}, and this call may take {estimate}.",
    ),
)
DAY_RATE: Final = Limit(
    column="rate_limit_rpd",
    kind="rpd",
    label="calls a day",
    help="Calls a day, in UTC; 0: no limit.",
    unit=Unit.CALLS,
    scope=CusLimitScope.INTEGRATION,
    window=Window.DAY,
    most=_MOST,
    shown_as="rate_limit_rpd",
    admissions="admitted_today",
    admissions_shown_as="admitted_today",
    reached=Rung(
        step=6,
        title="the limit of calls a day",
        result=Result.THROTTLED,
        code=Code.RATE_LIMIT_EXCEEDED,
        message="{used} calls began today, in UTC; the limit is {limit}.",
    ),
)
# In the order of display, and of checks within a step.
LIMITS: Final = (BUDGET, TOKENS, RATE, TOKEN_RATE, DAY_RATE)


class LimitColumns(msgspec.Struct, frozen=True, kw_only=True):
    """The limits' columns, as facts of decisions keep them.

    A limit that was added after release 0.1.0 has the default 0, because older facts lack it.
    """

    budget_limit_cents: int
    token_limit_month: int
    rate_limit_rpm: int
    rate_limit_tpm: int = 0
    rate_limit_rpd: int = 0


class Admissions(msgspec.Struct, frozen=True, kw_only=True):
    """What was admitted (rulings F4, F4a): for each rate its calls or tokens, over its window.

    A field that was added after release 0.1.0 has the default 0, too.
    """

    admitted: int = 0
    admitted_tokens: int = 0
    admitted_today: int = 0


# The limits' columns, each followed by its `settings`.
LIMIT_COLUMNS: Final = tuple(
    column for limit in LIMITS for column in (limit.column, *limit.settings)
)
RATES: Final = tuple(limit for limit in LIMITS if limit.admissions)


def admissions_of(counts: Sequence[int]) -> dict[str, int]:
    """The fields of `Admissions`, from counts in the order of `RATES`."""
    return {limit.admissions: count for limit, count in zip(RATES, counts, strict=True)}


def placed_after(name: str, fields: Mapping[str, _T], together: Mapping[str, _T]) -> dict[str, _T]:
    """The fields in order, with the fields of `together` moved behind the field `name`."""
    placed: dict[str, _T] = {}
    for field, value in fields.items():
        if field not in together:
            placed[field] = value
        if field == name:
            placed |= together
    return placed
