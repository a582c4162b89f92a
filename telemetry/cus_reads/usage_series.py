"""Figures of the days of a period for charts: of one tenant in its zone, or of all tenants in UTC."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection

from aos_sdk.cus_fields import TOKEN_NAMES
from telemetry.cus_analytics.figures import buckets_of, daily_name, sums_of
from telemetry.cus_analytics.latency import percentile_ms
from telemetry.cus_reads.local_days import LocalDays, local_days
from telemetry.cus_reads.periods import IN_UTC, Period, RecordsDropped, start_of_day
from telemetry.cus_reads.sources import Source, days_source, groups_source, hours_source
from telemetry.cus_sums import execute_sums

_ONE_DAY = timedelta(days=1)
# So many are told apart in a chart; the others are one series.
MOST_NAMED = 5
MOST_RANKED = 10
_COLUMNS = {"integration": "integration_id::text", "model": "model", "agent": "agent_id"}
_EXACT = "cost_microcents + settled_cost_microcents + correction_microcents"
_TOKENS = [*TOKEN_NAMES, *(f"settled_{name}" for name in TOKEN_NAMES)]
_SUMMED = ("calls", "errors", "blocked", *_TOKENS, "latency_calls")
_READ = [
    *(*_SUMMED, "latency_buckets", "latency_max_ms"),
    *("cost_microcents", "settled_cost_microcents", "correction_microcents"),
]
_DAY_SUMS = f"""{sums_of(_SUMMED)}, cus_sum({_EXACT}) AS exact,
    max(latency_max_ms) AS latency_max_ms, {buckets_of()} AS latency_buckets"""
# Of a day, in the order of a pass.
_FIGURES = (*_SUMMED, "exact", "highest", "buckets")
# The days of all tenants, which are few rows; hours are read of one tenant alone.
_ALL_DAYS = f"""
SELECT date::timestamp AT TIME ZONE 'UTC' AS hour, integration_id,
    {", ".join(f"{daily_name(name)} AS {name}" for name in _READ)}
FROM cus_usage_daily WHERE date >= %(from)s AND date < %(to)s"""  # noqa: S608  (our own names)


@dataclass(frozen=True)
class DayFigures:
    """A day's calls, exact cost as corrected, tokens and latencies; with settlements."""

    calls: int
    microcents: int
    errors: int
    blocked: int
    tokens: Mapping[str, int]
    p50_ms: int | None
    p95_ms: int | None


@dataclass(frozen=True)
class Ranked:
    """One of the dearest of a kind: its name, exact cost as corrected, calls and tokens.

    `by_day` is the exact cost of the days that have any use.
    """

    name: str
    microcents: int
    calls: int
    tokens: int
    by_day: dict[date, int]


@dataclass(frozen=True)
class _Pass:
    """What one statement read: the figures of each day, and the dearest of some kinds."""

    figures: dict[date, DayFigures]
    dearest: dict[str, list[Ranked]]


class CusUsageSeries:
    """The usage of a tenant, of one integration of it, or of all tenants (None), by day.

    The days are the last `days` of the zone up to now. Where retention dropped records that a day
    of the zone needs, days are those of UTC.
    """

    def __init__(
        self,
        tenant_id: uuid.UUID | None,
        integration_id: uuid.UUID | None,
        *,
        now: datetime,
        days: int,
        zone: ZoneInfo = IN_UTC,
    ) -> None:
        self.of_whom = (tenant_id, integration_id)
        self.zone = zone if tenant_id else IN_UTC
        self._now, self._days = now, days
        try:
            self._source_by_hour()
        except RecordsDropped:
            self.zone = IN_UTC

    @cached_property
    def period(self) -> Period:
        """The days as a period."""
        today = self._now.astimezone(self.zone).date()
        first = start_of_day(today - (self._days - 1) * _ONE_DAY, self.zone)
        return Period(first, start_of_day(today + _ONE_DAY, self.zone))

    @cached_property
    def local(self) -> LocalDays:
        """The days with their beginnings."""
        return local_days(self.period, self.zone)

    @property
    def dates(self) -> tuple[date, ...]:
        """The days, in their order."""
        return self.local.days

    def costs_by(self, split: str) -> dict[str | None, dict[date, int]]:
        """Exact microcents of each day, by the dearest of a kind; the others under None.

        The dearest come first.
        """
        ranked = self.dearest(split)
        named = ranked[:MOST_NAMED]
        found: dict[str | None, dict[date, int]] = {one.name: one.by_day for one in named}
        if len(ranked) > MOST_NAMED:
            found[None] = {
                day: max(of.microcents - sum(one.by_day.get(day, 0) for one in named), 0)
                for day, of in self.figures.items()
            }
        return found

    @property
    def figures(self) -> dict[date, DayFigures]:
        """Calls, tokens and latencies of each day that has any."""
        return self._pass_with("integration").figures

    def dearest(self, split: str) -> list[Ranked]:
        """The dearest of a kind over all days."""
        return self._pass_with(split).dearest[split]

    def _pass_with(self, split: str) -> "_Pass":
        if not self._is_of_days:
            return self._over_hours
        return self._over_days if split == "integration" else self._over_groups

    @cached_property
    def _over_days(self) -> "_Pass":
        return self._pass(("integration",))

    @cached_property
    def _over_groups(self) -> "_Pass":
        return self._pass(("model", "agent"))

    @cached_property
    def _over_hours(self) -> "_Pass":
        # All in one pass, because hours are many.
        return self._pass(tuple(_COLUMNS))

    def _pass(self, splits: Sequence[str]) -> "_Pass":
        source = self._source(splits[0])
        keys = {split: _COLUMNS[split] for split in splits}
        parts = source.summed({**keys, "day": self._day}, _DAY_SUMS)
        found = _Pass({}, {split: [] for split in splits})
        for kind, name, _, exact, calls, tokens, days, costs, *figures in self._rows(
            _statement(parts, splits), source
        ):
            if kind is None:
                row = dict(zip(_FIGURES, figures, strict=True))
                found.figures[self._date(days[0])] = _day_figures(row)
                continue
            by_day = {self._date(day): cost for day, cost in zip(days, costs, strict=True)}
            found.dearest[splits[kind]].append(Ranked(name, exact, calls, tokens, by_day))
        return found

    @property
    def _day(self) -> str:
        return "width_bucket(hour, %(day_starts)s::timestamptz[])"

    def _date(self, number: int) -> date:
        return self.dates[number - 1]

    @property
    def _is_of_days(self) -> bool:
        """Whether days are those of UTC, which are stored."""
        return self.zone.key == IN_UTC.key

    def _source(self, split: str) -> Source:
        tenant_id, integration_id = self.of_whom
        if tenant_id is None:
            bounds = {"from": self.period.start.date(), "to": self.period.end.date()}
            return Source([_ALL_DAYS], bounds)
        if not self._is_of_days:
            return self._source_by_hour()
        of_days = days_source if split == "integration" else groups_source
        return of_days(tenant_id, integration_id, self.period)

    def _source_by_hour(self) -> Source:
        tenant_id, integration_id = self.of_whom
        if tenant_id is None:
            return self._source("integration")
        borders = self.local.borders_within_hours
        return hours_source(tenant_id, integration_id, self.period, borders)

    def _rows(self, statement: str, source: Source) -> list[tuple[Any, ...]]:
        values = source.values | {"day_starts": list(self.local.starts)}
        with connection.cursor() as cursor:
            execute_sums(cursor, statement, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _statement(parts: str, splits: Sequence[str]) -> str:
    """The dearest of each kind with the costs of their days, by the number of the kind in `splits`;
    and the figures of each day, of no kind.
    """
    # `grouping` has a bit for each column, the last column's the lowest: 0 for that of the kind.
    last = len(splits) - 1
    bits = (2 ** len(splits) - 1 - (1 << (last - number)) for number in range(len(splits)))
    kind = " ".join(f"WHEN {bit} THEN {number}" for number, bit in enumerate(bits))
    return f"""
    WITH parts AS MATERIALIZED ({parts}), sums AS MATERIALIZED (
        SELECT CASE grouping({", ".join(splits)}) {kind} END AS kind,
            coalesce({", ".join(splits)}) AS name, day, cus_sum(exact) AS exact,
            cus_sum(calls) AS calls,
            cus_sum(tokens_in + tokens_out + settled_tokens_in + settled_tokens_out) AS tokens
        FROM parts GROUP BY GROUPING SETS ({", ".join(f"({split}, day)" for split in splits)})
    ), wholes AS (
        SELECT kind, name, cus_sum(exact) AS exact, cus_sum(calls) AS calls,
            cus_sum(tokens) AS tokens,
            row_number() OVER (PARTITION BY kind ORDER BY cus_sum(exact) DESC, name) AS place
        FROM sums GROUP BY kind, name
    )
    SELECT kind, name, place, wholes.exact, wholes.calls, wholes.tokens, array_agg(sums.day),
        array_agg(sums.exact), {", ".join(["NULL"] * len(_FIGURES))}
    FROM wholes JOIN sums USING (kind, name) WHERE place <= {MOST_RANKED} GROUP BY 1, 2, 3, 4, 5, 6
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, ARRAY[day], NULL, {sums_of(_SUMMED)},
        cus_sum(exact), max(latency_max_ms), {buckets_of()}
    FROM parts AS figures GROUP BY day
    ORDER BY kind, place
    """  # noqa: S608  (the names are this module's own)


@dataclass(frozen=True)
class SessionCost:
    """A session among the newest records: its exact cost as recorded, and its calls."""

    integration_id: uuid.UUID
    session_id: str
    microcents: int
    calls: int


# No index has sessions, so only the newest records are looked at.
NEWEST = 20_000
_SESSIONS = f"""
SELECT integration_id, session_id, sum(cost_microcents)::bigint AS exact, count(*)
FROM (
    SELECT integration_id, session_id, cost_microcents FROM cus_llm_usage
    WHERE tenant_id = %(tenant)s {{of_one}} ORDER BY created_at DESC LIMIT {NEWEST}
) AS newest
WHERE session_id IS NOT NULL GROUP BY 1, 2 ORDER BY exact DESC, 1, 2 LIMIT {MOST_RANKED}
"""  # noqa: S608  (the names are this module's own)


def dearest_sessions(tenant_id: uuid.UUID, integration_id: uuid.UUID | None) -> list[SessionCost]:
    """The dearest sessions among the newest records of a tenant, or of one integration of it."""
    of_one = "AND integration_id = %(integration)s" if integration_id else ""
    values = {"tenant": tenant_id, "integration": integration_id}
    with connection.cursor() as cursor:
        cursor.execute(_SESSIONS.format(of_one=of_one), values)
        return [SessionCost(*row) for row in cursor.fetchall()]


def _day_figures(row: Mapping[str, Any]) -> DayFigures:
    buckets, highest = row["buckets"] or [], row["highest"]
    return DayFigures(
        row["calls"],
        row["exact"],
        row["errors"],
        row["blocked"],
        {name: row[name] + row[f"settled_{name}"] for name in TOKEN_NAMES},
        percentile_ms(buckets, highest, 50),
        percentile_ms(buckets, highest, 95),
    )
