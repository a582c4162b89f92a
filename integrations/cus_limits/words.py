"""Limits in words, as mails, pages and messages write them."""

from datetime import datetime
from typing import Final

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from aos_sdk.cus_limit_scopes import CusLimitTerms
from integrations.cus_console.amounts import dollars
from integrations.cus_lifecycle.scope_words import named_text, scope_word

_WINDOWS: Final = {
    "minute": "in 60 seconds",
    "day": "a day",
    "week": "a week",
    "month": "a month",
    "life": "in all",
}
_OF_ALL: Final = {"tenant": "all integrations together", "integration": "the integration"}


def amount_text(unit: str, amount: int) -> str:
    """An amount with its unit: dollars, tokens or calls."""
    if unit == "cents":
        return dollars(amount * MICROCENTS_PER_CENT)
    return f"{amount:,} {unit.removesuffix('s') if amount == 1 else unit}"


def number_text(number: int, scope: str, tag: str) -> str:
    """So many values of a scope, such as "12 agents" or "1 value of tag team"."""
    kind = f"value of tag {tag}" if scope == "tag" else scope_word(scope)
    first, _, rest = kind.partition(" of ")
    plural = first if number == 1 else f"{first}s"
    return f"{number:,} {plural}{f' of {rest}' if rest else ''}"


def whose_text(scope: str, tag: str, value: str | None) -> str:
    """The calls that a limit counts together, such as "agent crawler" or "each tag team"."""
    if scope in _OF_ALL:
        return _OF_ALL[scope]
    if value is not None:
        return named_text(scope, value, tag)
    return f"each value of tag {tag}" if scope == "tag" else f"each {scope_word(scope)}"


def window_text(window: str) -> str:
    """The window after an amount, such as "a day"."""
    return _WINDOWS[window]


def limit_text(limit: CusLimitTerms) -> str:
    """A limit in a line, such as "$5.00 a day for agent crawler"."""
    whose = whose_text(limit.scope, limit.tag, limit.value)
    return f"{amount_text(limit.unit, limit.amount)} {window_text(limit.window)} for {whose}"


def moment_text(moment: datetime) -> str:
    """A moment as mails write it; all times of limits are UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
