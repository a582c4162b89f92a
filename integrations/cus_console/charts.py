"""Charts, each drawn from the table beside it, so that the figures and the drawing can't differ.

`cus_charts.js` draws a table with `data-cus-chart`: its first column has the labels, and each other
column is a series. Without a script the table is there all the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

_MICROCENTS_PER_DOLLAR = 100_000_000
Number: TypeAlias = int | float | Decimal


class Kind(StrEnum):
    """What a chart looks like."""

    STACKED_BARS = "bars"
    LINES = "lines"


class Unit(StrEnum):
    """What the axis of a chart counts."""

    DOLLARS = "dollars"
    COUNT = "count"
    PERCENT = "percent"
    MILLISECONDS = "ms"


@dataclass(frozen=True)
class Series:
    """Values of one thing, in the order of the labels; None where there is no value.

    `is_projected`: what is expected, and drawn as such.
    """

    title: str
    values: Sequence[Number | None]
    is_projected: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart: `about` says in a sentence what it shows, `first` heads the labels.

    `empty` says what the lack of values means and what to do next.
    """

    kind: Kind
    unit: Unit
    about: str
    first: str
    labels: Sequence[str]
    series: Sequence[Series]
    empty: str
    note: str = ""


@dataclass(frozen=True)
class _Value:
    number: str
    text: str


_WRITE: dict[Unit, Callable[[Number], str]] = {
    Unit.DOLLARS: "${:,.2f}".format,
    Unit.COUNT: "{:,}".format,
    Unit.PERCENT: "{:.1f} %".format,
    Unit.MILLISECONDS: "{:,} ms".format,
}


def drawn(chart: Chart) -> SafeString:
    """The chart and its table, or the text for none."""
    has_values = any(value for one in chart.series for value in one.values)
    rows = [
        (label, [_value(one.values[place], chart.unit) for one in chart.series])
        for place, label in enumerate(chart.labels)
    ]
    context = {"chart": chart, "rows": rows if has_values else []}
    return render_to_string("admin/cus_chart.html", context)


def in_dollars(microcents: int) -> Decimal:
    """Microcents as the dollars of an axis."""
    return Decimal(microcents) / _MICROCENTS_PER_DOLLAR


def _value(number: Number | None, unit: Unit) -> _Value:
    return _Value("", "-") if number is None else _Value(f"{number:f}", _WRITE[unit](number))


@dataclass(frozen=True)
class Share:
    """A row of a ranking: a name (with its page, if there is one), texts, and a part of the whole."""

    name: str
    link: str
    texts: Sequence[str]
    permille: int


def ranking(headers: Sequence[str], shares: Sequence[Share], *, empty: str) -> SafeString:
    """A table with a bar in each row."""
    context = {"headers": headers, "shares": shares, "empty": empty}
    return render_to_string("admin/cus_ranking.html", context)
