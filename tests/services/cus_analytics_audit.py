"""Whether hours, days and totals say what the evidence says, computed row by row in Python.

Nothing here is taken from the product's statements, so that both would have to be wrong alike.
"""

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from telemetry.cus_analytics.models import CusUsageDaily, CusUsageDayGroup, CusUsageHourly
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_evidence.lookup import counted_cents
from telemetry.cus_evidence.models import CusLifetimeTotals, CusLLMUsage, CusUsageSettlement
from tests.trust.cus_token_columns import TOKEN_COLUMNS

_BOUNDS = [
    *(10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 7000),
    *(10000, 15000, 20000, 30000, 50000, 70000, 100000, 150000, 200000, 300000),
]
_COSTS = ("cost_cents", "counted_cents", "cost_microcents")
_UNITS = ("cents", "microcents", "tokens")
_BY_DAY = {
    "calls": "total_calls",
    "tokens_in": "total_tokens_in",
    "tokens_out": "total_tokens_out",
    "cost_cents": "total_cost_cents",
    "cost_microcents": "total_cost_microcents",
    "errors": "error_count",
    "blocked": "blocked_count",
}
# The sums of totals beside which analytics keep settlements in a column of their own.
_SETTLED_IN_TOTALS = (*TOKEN_COLUMNS, *_COSTS, "unpriced", "unpriced_unit_calls")
_SAME_IN_TOTALS = (
    *("calls", "errors", "blocked", "unmeasured", "settled", "correction_microcents"),
    *(f"{kind}_{unit}" for kind in ("provisional", "released") for unit in _UNITS),
)

Figures = dict[str, Any]


def _nothing() -> Figures:
    return defaultdict(int, {"buckets": [0] * 29, "latency_max_ms": None})


def _add_row(figures: Figures, row: CusLLMUsage) -> None:
    ran = row.policy_result != "blocked"
    figures["calls"] += ran
    figures["errors"] += ran and row.error_code is not None
    figures["blocked"] += not ran
    figures["unpriced"] += row.pricing == "unknown"
    figures["unpriced_unit_calls"] += row.unpriced_units is not None
    figures["unmeasured"] += row.pricing == "unmeasured"
    for name in (*TOKEN_COLUMNS, "cost_cents", "cost_microcents"):
        figures[name] += getattr(row, name)
    figures["counted_cents"] += counted_cents(row)
    for unit in _UNITS:
        figures[f"provisional_{unit}"] += getattr(row, f"provisional_{unit}") or 0
    if ran and row.latency_ms is not None:
        figures["latency_calls"] += 1
        figures["latency_sum_ms"] += row.latency_ms
        figures["latency_max_ms"] = max(figures["latency_max_ms"] or 0, row.latency_ms)
        figures["buckets"][bisect_right(_BOUNDS, row.latency_ms)] += 1


def _add_settlement(figures: Figures, row: CusLLMUsage, settlement: CusUsageSettlement) -> None:
    figures["settled"] += 1
    figures["settled_unpriced"] += settlement.pricing == "unknown"
    figures["settled_unpriced_unit_calls"] += settlement.unpriced_units is not None
    for name in (*TOKEN_COLUMNS, *_COSTS):
        figures[f"settled_{name}"] += getattr(settlement, name)
    for unit in _UNITS:
        figures[f"released_{unit}"] += getattr(row, f"provisional_{unit}")


def _expected() -> dict[tuple[Any, ...], Figures]:
    """The figures of each key of an hour."""
    found: dict[tuple[Any, ...], Figures] = defaultdict(_nothing)
    rows = {row.id: row for row in CusLLMUsage.objects.all()}
    for row in rows.values():
        _add_row(found[_key(row)], row)
    for settlement in CusUsageSettlement.objects.all():
        row = rows[settlement.usage_id]
        _add_settlement(found[_key(row)], row, settlement)
    for adjustment in CusCostAdjustment.objects.all():
        key = _key(rows[adjustment.usage_id])
        found[key]["correction_microcents"] += adjustment.difference_microcents
    return found


def _key(row: CusLLMUsage) -> tuple[Any, ...]:
    at = row.occurred_at.astimezone(UTC)
    hour = datetime(at.year, at.month, at.day, at.hour, tzinfo=UTC)
    names = (row.provider, row.model, row.agent_id or "", row.policy_result)
    # As PostgreSQL writes JSON.
    tags = json.dumps(row.tags, ensure_ascii=False) if row.tags else ""
    return (row.tenant_id, hour, row.integration_id, *names, row.error_code is not None, tags)


def analytics_findings() -> list[str]:
    """What disagrees, a sentence each; nothing if all is well and every run is done."""
    expected = _expected()
    return [*_hours(expected), *_groups(expected), *_days(expected), *totals_findings()]


def _hours(expected: dict[tuple[Any, ...], Figures]) -> Iterator[str]:
    # Without `kept`: retention has dropped nothing, where this is asked.
    stored = {tuple(hour.pk)[:-1]: hour for hour in CusUsageHourly.objects.all()}
    for key in {*stored} ^ {*expected}:
        yield f"the hour {key} is {'stored' if key in stored else 'missing'}"
    for key in {*stored} & {*expected}:
        yield from _compared(f"the hour {key}", stored[key], expected[key], {})


def _groups(expected: dict[tuple[Any, ...], Figures]) -> Iterator[str]:
    groups: dict[tuple[Any, ...], list[Figures]] = defaultdict(list)
    for (tenant_id, hour, *whose), figures in expected.items():
        groups[tenant_id, hour.date(), *whose].append(figures)
    stored = {tuple(group.pk): group for group in CusUsageDayGroup.objects.all()}
    for key in {*stored} ^ {*groups}:
        yield f"the group {key} of a day is {'stored' if key in stored else 'missing'}"
    for key in {*stored} & {*groups}:
        yield from _compared(f"the group {key} of a day", stored[key], _sum(groups[key]), {})


def _days(expected: dict[tuple[Any, ...], Figures]) -> Iterator[str]:
    days: dict[tuple[Any, ...], list[Figures]] = defaultdict(list)
    for (tenant_id, hour, integration_id, *_), figures in expected.items():
        days[tenant_id, integration_id, hour.date()].append(figures)
    stored = {tuple(day.pk): day for day in CusUsageDaily.objects.all()}
    for key in {*stored} ^ {*days}:
        yield f"the day {key} is {'stored' if key in stored else 'missing'}"
    for key in {*stored} & {*days}:
        sums = _sum(days[key])
        yield from _compared(f"the day {key}", stored[key], sums, _BY_DAY)
        calls = sums["latency_calls"]
        average = round(sums["latency_sum_ms"] / calls) if calls else None
        if abs((average or 0) - (stored[key].avg_latency_ms or 0)) > 1:
            yield f"the average latency of the day {key} is {stored[key].avg_latency_ms}"


def _sum(parts: list[Figures]) -> Figures:
    total = _nothing()
    for part in parts:
        for name, value in part.items():
            if name == "buckets":
                total[name] = [a + b for a, b in zip(total[name], value, strict=True)]
            elif name == "latency_max_ms":
                total[name] = max((x for x in (total[name], value) if x is not None), default=None)
            else:
                total[name] += value
    return total


def _compared(what: str, stored: Any, figures: Figures, names: dict[str, str]) -> Iterator[str]:
    key = {"hour", "has_error", "integration_id", "tenant_id", "computed_at", "avg_latency_ms"}
    unseen = {
        field.attname for field in stored._meta.concrete_fields if field.get_internal_type() in
        ("BigIntegerField", "IntegerField")
    } - key - {names.get(name, name) for name in figures}  # fmt: skip
    for name in unseen:
        if getattr(stored, name):
            yield f"{what} has {getattr(stored, name)} {name}, and no row has any"
    for name, value in figures.items():
        column = {"buckets": "latency_buckets"}.get(name, names.get(name, name))
        found = getattr(stored, column)
        if found != (None if name == "buckets" and not any(value) else value):
            yield f"{what} has {found} {column}, not {value}"


def totals_findings() -> list[str]:
    """Where totals for life are not the sums of all hours, or of all days (ruling E8)."""
    totals: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    hours: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    days: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    groups: dict[Any, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for total in CusLifetimeTotals.objects.all():
        for name in (*_SAME_IN_TOTALS, *_SETTLED_IN_TOTALS):
            totals[total.integration_id][name] += getattr(total, name)
    for rows, found, names in (
        (CusUsageHourly.objects.all(), hours, {}),
        (CusUsageDayGroup.objects.all(), groups, {}),
        (CusUsageDaily.objects.all(), days, _BY_DAY),
    ):
        for row in rows:
            for name in _SAME_IN_TOTALS:
                found[row.integration_id][name] += getattr(row, names.get(name, name))
            for name in _SETTLED_IN_TOTALS:
                both = getattr(row, names.get(name, name)) + getattr(row, f"settled_{name}")
                found[row.integration_id][name] += both
    return [
        f"{side} of {integration} have {found[integration][name]} {name}, totals {value}"
        for integration, sums in totals.items()
        for name, value in sums.items()
        for side, found in (("hours", hours), ("groups of days", groups), ("days", days))
        if found[integration][name] != value
    ]
