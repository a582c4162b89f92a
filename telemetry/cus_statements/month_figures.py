"""The figures of what a tenant's month received, computed from evidence (rulings E3, M3a, M5b, M9)."""

import uuid
from dataclasses import dataclass, replace
from typing import Any

from django.db import connection

from telemetry.cus_analytics.figures import (
    CORRECTED,
    LATENCY_SUMS,
    OF_ADJUSTMENTS,
    OF_ROWS,
    OF_SETTLEMENTS,
    RECORDED,
    SETTLED,
    UNITS,
    named,
    sums_of,
    zero,
)
from telemetry.cus_reads.periods import Period
from telemetry.cus_reads.usage_figures import usage_figures
from telemetry.cus_sums import execute_sums

KEY = ("integration_id", "provider", "model", "agent_id")
# The unmeasured calls of the month that were settled before its end.
_CLEARED = ("cleared", *(f"cleared_{unit}" for unit in UNITS))
_SUMS = (*RECORDED, *SETTLED, *CORRECTED, *_CLEARED)


@dataclass(frozen=True)
class MonthGroup:
    """The figures of an integration, provider, model and agent ("": the calls named none)."""

    integration_id: uuid.UUID
    provider: str
    model: str
    agent_id: str
    figures: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """The group as a statement keeps it."""
        names = {name: getattr(self, name) for name in KEY}
        return {**names, "integration_id": str(self.integration_id), **self.figures}


def month_groups(tenant_id: uuid.UUID, period: Period) -> list[MonthGroup]:
    """The figures of the records, settlements and corrections that were received in the period."""
    values: dict[str, Any] = {"tenant": tenant_id, "start": period.start, "end": period.end}
    with connection.cursor() as cursor:
        execute_sums(cursor, _STATEMENT, values)
        rows = cursor.fetchall()
    return [_group(row) for row in rows]


def totals_of(groups: list[MonthGroup]) -> dict[str, int]:
    """The sums of all groups' figures."""
    names = _figures(dict.fromkeys(_SUMS, 0))
    return {name: sum(group.figures[name] for group in groups) for name in names}


def _group(row: tuple[Any, ...]) -> MonthGroup:
    sums = dict(zip(_SUMS, row[len(KEY) :], strict=True))
    integration_id, provider, model, agent_id = row[: len(KEY)]
    return MonthGroup(integration_id, provider, model, agent_id, _figures(sums))


def _figures(sums: dict[str, int]) -> dict[str, int]:
    """Figures by the names that reads have.

    Calls whose usage was unknown at the month's end are those of the month less those that were
    cleared by then. The month's settlements may be of calls of earlier months.
    """
    unlike_hours = {"settled": sums["cleared"]}
    unlike_hours |= {f"released_{unit}": sums[f"cleared_{unit}"] for unit in UNITS}
    no_latency = dict.fromkeys((*LATENCY_SUMS, "latency_max_ms", "latency_buckets"), 0)
    known = usage_figures({**sums, **unlike_hours, **no_latency, "latency_buckets": None})
    fields = replace(known, settled_calls=sums["settled"]).as_fields()
    return {name: value for name, value in fields.items() if "latency" not in name}


_OF_CLEARED = {
    "cleared": "count(*)",
    **{f"cleared_{unit}": f"cus_sum(usage.provisional_{unit})" for unit in UNITS},
}


def _additions(table: str, values: dict[str, str], condition: str, model: str = "''") -> str:
    """Sums over settlements or corrections, by the group of their call."""
    return f"""
    SELECT added.integration_id, coalesce(usage.provider, '') AS provider,
        coalesce(usage.model, {model}) AS model, coalesce(usage.agent_id, '') AS agent_id,
        {named(values)}
    FROM {table} AS added LEFT JOIN LATERAL (
        SELECT * FROM cus_llm_usage AS row WHERE row.tenant_id = added.tenant_id
            AND row.created_at = added.usage_created_at AND row.id = added.usage_id
        OFFSET 0
    ) AS usage ON true
    WHERE added.tenant_id = %(tenant)s AND {condition} GROUP BY 1, 2, 3, 4"""  # noqa: S608


_MADE = "added.created_at >= %(start)s AND added.created_at < %(end)s"
_BEFORE_THE_END = f"{_MADE} AND added.usage_created_at >= %(start)s"


def _part(name: str, columns: tuple[str, ...]) -> str:
    """A part's own sums, and 0 for those of the other parts."""
    others = [one for one in _SUMS if one not in columns]
    return f"SELECT {', '.join(KEY)}, {', '.join(columns)}, {zero(others)} FROM {name}"  # noqa: S608


def _aligned(name: str, columns: tuple[str, ...]) -> str:
    return f"SELECT {', '.join(KEY)}, {', '.join(_SUMS)} FROM ({_part(name, columns)}) AS {name}_"  # noqa: S608


_STATEMENT = f"""
WITH recorded AS (
    SELECT integration_id, provider, model, coalesce(agent_id, '') AS agent_id, {named(OF_ROWS)}
    FROM cus_llm_usage WHERE tenant_id = %(tenant)s
        AND created_at >= %(start)s AND created_at < %(end)s GROUP BY 1, 2, 3, 4
), settled AS ({_additions("cus_usage_settlements", OF_SETTLEMENTS, _MADE, "added.model")}
), cleared AS ({_additions("cus_usage_settlements", _OF_CLEARED, _BEFORE_THE_END, "added.model")}
), corrected AS ({_additions("cus_cost_adjustments", OF_ADJUSTMENTS, _MADE)}
), one AS (
    {_aligned("recorded", RECORDED)} UNION ALL {_aligned("settled", SETTLED)}
    UNION ALL {_aligned("cleared", _CLEARED)} UNION ALL {_aligned("corrected", CORRECTED)}
)
SELECT {", ".join(KEY)}, {sums_of(_SUMS, table="one")}
FROM one GROUP BY {", ".join(KEY)} ORDER BY {", ".join(KEY)}
"""  # noqa: S608  (the names are this module's own)
