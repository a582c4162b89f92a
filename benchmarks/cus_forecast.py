"""`make forecast-error`: how far the forecast of a month's cost is off, beside a naive one.

A trace is shorter than a month, so its time is stretched to a quarter of a year: each equal part of
the trace is an hour. A stretched trace has no weekdays. So a second row draws the trace's calls by
chance (the same at every run), as many in each hour as a made-up office's weekdays and hours have.
"""

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean

from aos_project.cus_demo.cus_trace import (
    Trace,
    TraceCall,
    TraceUnreadable,
    read_trace,
    synthetic_trace,
)
from aos_sdk.cus_cost import calculate_cost_microcents
from benchmarks.cus_report import Section, new_console
from telemetry.cus_analytics.forecast import HOUR, expected_rest, naive_rest

MODEL = "gpt-4o"
# A month of history, and two months that are forecast.
FIRST = datetime(2026, 9, 1, tzinfo=UTC)
MONTHS = (
    (datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)),
    (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)),
)
AFTER_DAYS = (1, 3, 7, 14, 21)
_DAYS = range(1, 28)
_OFFICE_HOURS = range(8, 18)
_SATURDAY = 5
_KINDS = ("ours", "naive")

Costs = Mapping[datetime, int]


@dataclass(frozen=True)
class Errors:
    """Mean errors over the months, each as a share of the month's true cost."""

    ours: float
    naive: float


def stretched(trace: Trace) -> dict[datetime, int]:
    """The cost of each hour, in microcents of the model `MODEL`."""
    hours = (MONTHS[-1][1] - FIRST) // HOUR
    length = max(call.offset_seconds for call in trace.calls) or 1.0
    costs = {FIRST + number * HOUR: 0 for number in range(hours)}
    for call in trace.calls:
        number = min(int(call.offset_seconds / length * hours), hours - 1)
        costs[FIRST + number * HOUR] += _cost(call)
    return costs


def of_an_office(hour: datetime) -> int:
    """The number of an office's calls in an hour: few at night and at weekends."""
    if hour.weekday() >= _SATURDAY:
        return 2
    return 40 if hour.hour in _OFFICE_HOURS else 6


def drawn(trace: Trace) -> dict[datetime, int]:
    """The cost of each hour of an office whose calls are the trace's, drawn by chance."""
    chance = random.Random(2023)  # noqa: S311  (no secret)
    prices = [_cost(call) for call in trace.calls]
    return {hour: sum(chance.choices(prices, k=of_an_office(hour))) for hour in stretched(trace)}


def _cost(call: TraceCall) -> int:
    return calculate_cost_microcents(MODEL, call.tokens_in, call.tokens_out)


def errors_after(days: int, costs: Costs) -> Errors:
    """The errors of both forecasts that many days after a month's beginning."""
    ours, naive = [], []
    for start, end in MONTHS:
        now = start + timedelta(days=days)
        so_far = sum(cost for hour, cost in costs.items() if start <= hour < now)
        true = sum(cost for hour, cost in costs.items() if now <= hour < end)
        expected = expected_rest(costs, now=now, end=end) or 0
        plain = naive_rest(so_far, start=start, now=now, end=end) or 0
        whole = (so_far + true) or 1
        ours.append(abs(expected - true) / whole)
        naive.append(abs(plain - true) / whole)
    return Errors(mean(ours), mean(naive))


def section_of(trace: Trace) -> Section:
    """A row for each shape of the calls; a column for each number of days."""
    section = Section(
        "Error of the month's forecast cost / of the naive forecast",
        ["calls", *(f"after day {days}" for days in AFTER_DAYS), "mean of all days"],
    )
    shapes = {
        "stretched, without weekdays": stretched(trace),
        "drawn, with an office's weekdays": drawn(trace),
    }
    for name, costs in shapes.items():
        found = {days: errors_after(days, costs) for days in _DAYS}
        ours, naive = (mean(getattr(one, kind) for one in found.values()) for kind in _KINDS)
        shown = [*(found[days] for days in AFTER_DAYS), Errors(ours, naive)]
        section.rows.append([name, *(f"{one.ours:.1%} / {one.naive:.1%}" for one in shown)])
    section.notes = [
        "Mean of two months (of 31 and 30 days), after a month of history; a share of the "
        "month's true cost.",
        f"Forecast: the same weekdays and hours. Naive: the mean so far times the days. "
        f"Costs of {MODEL}.",
        f"Each hour is {_seconds(trace):.2f} s of the trace; the office's numbers of calls are made up.",
    ]
    return section


def _seconds(trace: Trace) -> float:
    length = max(call.offset_seconds for call in trace.calls)
    return length / ((MONTHS[-1][1] - FIRST) / HOUR)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, help="a CSV file as `make demo` takes")
    chosen = parser.parse_args(arguments)
    try:
        trace = read_trace(chosen.trace) if chosen.trace else synthetic_trace()
    except TraceUnreadable as reason:
        parser.error(str(reason))
    console = new_console()
    console.print(f"{len(trace.calls):,} calls of {trace.name}")
    section_of(trace).show(console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
