"""Whether the totals of a tenant are the sums of its evidence, and those of all hours (ruling E8).

To be asked within one snapshot, so that calls which come meanwhile are on both sides or on none.
"""

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from aos_sdk.cus_fields import TOKEN_NAMES
from telemetry.cus_analytics.days import TenantDay
from telemetry.cus_analytics.differences import Difference, Kind, differences_of, read_sums
from telemetry.cus_analytics.figures import (
    COSTS,
    HOURS,
    OF_ROWS,
    RECORDED,
    UNITS,
    sums_of,
)
from telemetry.cus_analytics.usage_aggregator import figure_values, stretches
from telemetry.cus_evidence.partitions import Month
from telemetry.cus_sums import execute_sums

_RELEASED = tuple(f"released_{unit}" for unit in UNITS)
# The sums that totals and hours have in common.
SUMS = (*RECORDED, "settled", *_RELEASED, "correction_microcents")
# To these, totals add what settlements say; hours keep it in columns of its own.
_SETTLED_TOO = (*TOKEN_NAMES, *COSTS, "unpriced", "unpriced_unit_calls")
_OF_SETTLEMENTS = {
    **{name: f"sum({name})" for name in TOKEN_NAMES},
    **{name: f"cus_sum({name})" for name in COSTS},
    "unpriced": "count(*) FILTER (WHERE pricing = 'unknown')",
    "unpriced_unit_calls": "count(unpriced_units)",
}
_OF_SETTLED_ROWS = {
    "settled": "count(*)",
    **{f"released_{unit}": f"cus_sum(usage.provisional_{unit})" for unit in UNITS},
}
_OF_ADJUSTMENTS = {"correction_microcents": "cus_sum(difference_microcents)"}


def _part(values: dict[str, str], source: str, condition: str, *, of: str = "") -> str:
    """Sums by integration: these values, and 0 for every other sum."""
    columns = ", ".join(f"{values.get(name, '0')} AS {name}" for name in SUMS)
    return f"""
    SELECT {of}integration_id, {columns} FROM {source}
    WHERE {of}tenant_id = %(tenant)s AND {condition} GROUP BY {of}integration_id"""  # noqa: S608


def _in_month(moment: str) -> str:
    return f"{moment} >= %(start)s AND {moment} < %(end)s"


_SETTLED_ROWS = """cus_usage_settlements AS settlement JOIN cus_llm_usage AS usage
    ON usage.tenant_id = settlement.tenant_id AND usage.created_at = settlement.usage_created_at
    AND usage.id = settlement.usage_id"""
# A settlement's amounts belong to the month in which the settlement came, and what it releases to
# the month of its row, as a correction does.
_EVIDENCE_OF_MONTH = f"""
SELECT integration_id, {sums_of(SUMS)} FROM (
    {_part(OF_ROWS, "cus_llm_usage", _in_month("created_at"))}
    UNION ALL {_part(_OF_SETTLEMENTS, "cus_usage_settlements", _in_month("created_at"))}
    UNION ALL {_part(_OF_SETTLED_ROWS, _SETTLED_ROWS, _in_month("usage.created_at"), of="usage.")}
    UNION ALL {_part(_OF_ADJUSTMENTS, "cus_cost_adjustments", _in_month("usage_created_at"))}
) AS figures GROUP BY integration_id
"""  # noqa: S608  (the names are this module's own)


def _totals(table: str, condition: str = "true") -> str:
    return f"""
SELECT integration_id, {sums_of(SUMS)} FROM {table} AS figures
WHERE tenant_id = %(tenant)s AND {condition} GROUP BY integration_id"""  # noqa: S608


_TOTALS_OF_MONTH = _totals("cus_period_totals", "period = %(period)s")
_TOTALS_OF_MONTHS = _totals("cus_period_totals")
_TOTALS_FOR_LIFE = _totals("cus_lifetime_totals")


def month_differences(cursor: Any, tenant_id: uuid.UUID, month: Month) -> Iterator[Difference]:
    """Where totals of a month are not the sums of its evidence; the month's rows must be there."""
    values = {
        "tenant": tenant_id,
        "start": month.start,
        "end": month.shifted(1).start,
        "period": month.start.date(),
    }
    execute_sums(cursor, _TOTALS_OF_MONTH, values)
    stored = read_sums(cursor.fetchall())
    execute_sums(cursor, _EVIDENCE_OF_MONTH, values)
    expected = read_sums(cursor.fetchall())
    yield from differences_of(Kind.MONTH_TOTAL, month.start, SUMS, stored=stored, expected=expected)


def lifetime_differences(
    cursor: Any, tenant_id: uuid.UUID, moving: Iterable[datetime]
) -> Iterator[Difference]:
    """Where totals for life are not those of all months, or not the sums of all hours.

    The hours `moving` wait to be recomputed: their figures are taken from evidence.
    """
    execute_sums(cursor, _TOTALS_FOR_LIFE, {"tenant": tenant_id})
    life = read_sums(cursor.fetchall())
    execute_sums(cursor, _TOTALS_OF_MONTHS, {"tenant": tenant_id})
    months = read_sums(cursor.fetchall())
    yield from differences_of(Kind.LIFETIME_TOTAL, None, SUMS, stored=life, expected=months)
    hours = _hours(cursor, tenant_id, list(moving))
    yield from differences_of(Kind.ALL_TIME, None, SUMS, stored=hours, expected=life)


_AS_TOTALS = ", ".join(
    f"{name} + settled_{name} AS {name}" if name in _SETTLED_TOO else name for name in SUMS
)
_HOURS_AT_REST = f"""
SELECT integration_id, {sums_of(SUMS)} FROM (
    SELECT integration_id, {_AS_TOTALS} FROM cus_usage_hourly
    WHERE tenant_id = %(tenant)s AND (kept OR hour <> ALL(%(moving)s::timestamptz[]))
) AS figures GROUP BY integration_id
"""  # noqa: S608  (the names are this module's own)
_HOURS_IN_MOTION = f"""
SELECT integration_id, {sums_of(SUMS)} FROM (
    SELECT integration_id, {_AS_TOTALS} FROM ({HOURS}) AS found
) AS figures GROUP BY integration_id
"""  # noqa: S608  (the names are this module's own)


def _hours(cursor: Any, tenant_id: uuid.UUID, moving: list[datetime]) -> dict[uuid.UUID, list[int]]:
    execute_sums(cursor, _HOURS_AT_REST, {"tenant": tenant_id, "moving": moving})
    parts = [read_sums(cursor.fetchall())]
    for start, end in stretches(moving):
        day = TenantDay(start.date(), tenant_id)
        execute_sums(
            cursor, _HOURS_IN_MOTION, figure_values(day, start, end, kept_until=day.kept_until())
        )
        parts.append(read_sums(cursor.fetchall()))
    sums: dict[uuid.UUID, list[int]] = {}
    for part in parts:
        for integration_id, values in part.items():
            before = sums.get(integration_id, [0] * len(SUMS))
            sums[integration_id] = [a + b for a, b in zip(before, values, strict=True)]
    return sums
