"""From which rows a period is summed: days, hours, and evidence where hours must be split.

The hours of analytics are hours of UTC. Where a period begins or ends within such an hour, or a day
of a time zone does, the parts of that hour are summed from evidence by the rollup's own statement.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from telemetry.cus_analytics.days import CLOCK_AHEAD, EVER, TenantDay, final_at, have_all_evidence
from telemetry.cus_analytics.figures import FIGURES, HOURS, KEY, daily_name
from telemetry.cus_reads.local_days import hour_of
from telemetry.cus_reads.periods import Period, RecordsDropped

# Rows of figures are wide, and sorting them by group would write them to disk. Needs a transaction.
SETTINGS = "SET LOCAL work_mem = '64MB'; SET LOCAL enable_sort = off; SET LOCAL jit = off"


@dataclass(frozen=True)
class Source:
    """SQL for rows of figures by the key of an hour, with `computed_at`, and the SQL's values.

    `hour` of a part of an hour is the part's beginning, so that it lies in the part's day.
    """

    parts: Sequence[str]
    values: dict[str, Any]

    def summed(self, keys: Mapping[str, str], sums: str) -> str:
        """SQL for sums of the figures by keys, which are SQL by name: one row or several of a key.

        Each table is summed by itself: rows of figures are wide, and to put those of several tables
        into one list takes as long as to sum them.
        """
        names = "".join(f"{value} AS {name}, " for name, value in keys.items())
        group = f"GROUP BY {', '.join(str(n + 1) for n in range(len(keys)))}" if keys else ""
        return " UNION ALL ".join(
            f"SELECT {names}{sums} FROM ({part}) AS figures {group}"  # noqa: S608  (our own)
            for part in self.parts
        )


def days_source(tenant_id: uuid.UUID, integration_id: uuid.UUID | None, period: Period) -> Source:
    """The stored days (UTC) of a period of whole days, by integration."""
    bounds = {"from": period.start.date(), "to": period.end.date()}
    return Source([_DAYS], {"tenant": tenant_id, "integration": integration_id} | bounds)


def groups_source(tenant_id: uuid.UUID, integration_id: uuid.UUID | None, period: Period) -> Source:
    """The stored days (UTC) of a period in all groups, hours at its ends, and evidence for the parts
    of hours there. Raises RecordsDropped.
    """
    days = period.whole_days()
    if days is None:
        return hours_source(tenant_id, integration_id, period)
    values: dict[str, Any] = {"first_day": days.start.date(), "last_day": days.end.date()}
    parts = [_GROUPS]
    ends = (Period(period.start, days.start), Period(days.end, period.end))
    for name, end in zip(("head", "tail"), ends, strict=True):
        whole = end.whole_hours() if end.start < end.end else None
        if whole:
            values |= {f"{name}_from": whole.start, f"{name}_to": whole.end, f"{name}_split": []}
            parts.append(_hours(f"{name}_"))
    return _with_pieces(parts, values, tenant_id, integration_id, period.edges())


def hours_source(
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID | None,
    period: Period,
    borders: Sequence[datetime] = (),
) -> Source:
    """The stored hours of a period, and evidence for the hours that its ends or borders split.

    Raises RecordsDropped.
    """
    values: dict[str, Any] = {}
    parts, whole = [], period.whole_hours()
    if whole:
        values |= {"from": whole.start, "to": whole.end, "split": [hour_of(at) for at in borders]}
        parts.append(_hours())
    pieces = [edge for piece in _cut(period, borders) for edge in piece.edges()]
    return _with_pieces(parts, values, tenant_id, integration_id, pieces)


def _with_pieces(
    parts: list[str],
    values: dict[str, Any],
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID | None,
    pieces: list[Period],
) -> Source:
    """The parts, and the evidence of pieces of hours."""
    values |= {"tenant": tenant_id, "integration": integration_id, "session": None}
    if pieces:
        values |= _piece_values(tenant_id, pieces)
        parts = [*parts, _PIECES]
    return Source(parts, values)


def session_source(
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID | None,
    session_id: str,
    period: Period,
    borders: Sequence[datetime] = (),
) -> Source:
    """The evidence of a session. Raises RecordsDropped."""
    values = {"tenant": tenant_id, "integration": integration_id, "session": session_id}
    return Source([_PIECES], values | _piece_values(tenant_id, _cut(period, borders)))


def _cut(period: Period, borders: Iterable[datetime]) -> list[Period]:
    """The period in pieces that no border splits."""
    within = [at for at in borders if period.start < at < period.end]
    cuts = [period.start, *sorted(within), period.end]
    return [Period(start, end) for start, end in pairwise(cuts)]


def _piece_values(tenant_id: uuid.UUID, pieces: list[Period]) -> dict[str, Any]:
    moments = [moment.astimezone(UTC) for piece in pieces for moment in (piece.start, piece.end)]
    if not have_all_evidence(tenant_id, {TenantDay(at.date(), tenant_id) for at in moments}):
        raise RecordsDropped
    return {
        "piece_starts": [piece.start for piece in pieces],
        "piece_ends": [piece.end for piece in pieces],
        # Of all pieces: bounds that the planner knows keep it from reading, for each piece, the
        # index of five weeks of receipt. So each piece reads its own hour by when calls occurred.
        "received_from": min(moments) - CLOCK_AHEAD,
        "received_to": final_at(max(moments).date()),
        "added_from": EVER,
    }


_OF_ONE = "(%(integration)s::uuid IS NULL OR integration_id = %(integration)s)"
_GROUPS = f"""
SELECT date::timestamp AT TIME ZONE 'UTC' AS hour, {", ".join((*KEY[1:], *FIGURES))}, computed_at
FROM cus_usage_day_groups
WHERE tenant_id = %(tenant)s AND date >= %(first_day)s AND date < %(last_day)s
    AND {_OF_ONE}"""  # noqa: S608  (our own names)


def _hours(prefix: str = "") -> str:
    """The stored hours between two moments, whose values have names with this prefix."""
    return f"""
SELECT {", ".join((*KEY, *FIGURES))}, computed_at FROM cus_usage_hourly
WHERE tenant_id = %(tenant)s AND hour >= %({prefix}from)s AND hour < %({prefix}to)s
    AND hour <> ALL (%({prefix}split)s::timestamptz[]) AND {_OF_ONE}"""  # noqa: S608  (our own)


_DAYS = f"""
SELECT date::timestamp AT TIME ZONE 'UTC' AS hour, integration_id,
    {", ".join(f"{daily_name(name)} AS {name}" for name in FIGURES)}, computed_at
FROM cus_usage_daily
WHERE tenant_id = %(tenant)s AND date >= %(from)s AND date < %(to)s AND {_OF_ONE}"""  # noqa: S608


def _of_a_piece(statement: str) -> str:
    """The statement with the bounds of a piece for its own."""
    return statement.replace("%(start)s", "piece.start_at").replace("%(end)s", "piece.end_at")


_PIECES = f"""
SELECT greatest(figures.hour, piece.start_at) AS hour, {", ".join((*KEY[1:], *FIGURES))},
    now() AS computed_at
FROM unnest(%(piece_starts)s::timestamptz[], %(piece_ends)s::timestamptz[]
) AS piece (start_at, end_at),
LATERAL ({_of_a_piece(HOURS)}) AS figures"""  # noqa: S608  (the names are our own)
