"""Bars of what is used of a limit, and what is held beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

_PERMILLE = 1_000


@dataclass(frozen=True)
class Bar:
    """A limit's use, as a text and as parts of a thousand. Without a limit there is no bar."""

    title: str
    text: str
    limited: bool
    used_permille: int = 0
    held_permille: int = 0
    is_near: bool = False

    @classmethod
    def of(cls, title: str, text: str, *, used: int, held: int, most: int, is_near: bool) -> "Bar":
        """The bar of a limit of `most`; all three are in one unit."""
        used_permille = min(used * _PERMILLE // most, _PERMILLE)
        held_permille = min(held * _PERMILLE // most, _PERMILLE - used_permille)
        return cls(
            title,
            text,
            limited=True,
            used_permille=used_permille,
            held_permille=held_permille,
            is_near=is_near,
        )


def bars_shown(bars: Sequence[Bar]) -> SafeString:
    """The bars, below one another."""
    return render_to_string("admin/cus_limit_bars.html", {"bars": bars})
