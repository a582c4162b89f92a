"""What is taken of limits at scopes now, of each value that has reached the first level.

A run's budget in code is its program's own, so nobody is told of it.
"""

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

from django.db import connection

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_lifecycle.limits import Unit, Window
from integrations.cus_lifecycle.scope_words import named_text
from integrations.cus_notifications.announcing import LimitReading, started
from integrations.cus_notifications.kinds import LEVELS

_UNITS: Final = ("calls", "cents", "microcents", "tokens")
_NOTHING: Final = ", ".join("0" for _ in _UNITS)


def _amount(part: str) -> str:
    """SQL for what a `scoped` limit counts of a part's sums; money in microcents (ruling M3)."""
    return f"""CASE WHEN scoped.unit <> 'cents' THEN
        CASE scoped.unit WHEN 'calls' THEN {part}_calls ELSE {part}_tokens END
        WHEN scoped.basis = 'exact' THEN {part}_microcents
        ELSE {part}_cents * {MICROCENTS_PER_CENT} END"""


_SUMS = ", ".join(
    f"greatest(sum({part}_{unit}), 0) AS {part}_{unit}"
    for part in ("used", "held")
    for unit in _UNITS
)
_NAMES = ", ".join(f"{part}_{unit}" for part in ("used", "held") for unit in _UNITS)
# Of limits that count the same calls over the same time, the last of these stands for the others.
_RANK = "({0}.value IS NOT NULL, {0}.valid_until IS NOT NULL, {0}.created_at, {0}.id)"
_SAME_KIND = " AND ".join(
    f"other.{name} IS NOT DISTINCT FROM scoped.{name}"
    for name in ("tenant_id", "integration_id", "scope", "tag", "unit", '"window"')
)
# Totals and holds in one statement, so that a call is in one of them and not in both.
_SCOPED = f"""
WITH in_force AS (
    SELECT scoped.*, coalesce(integration.name, '') AS integration_name
    FROM cus_scoped_limits AS scoped
    JOIN cus_tenants AS tenant ON tenant.id = scoped.tenant_id AND tenant.closed_at IS NULL
    LEFT JOIN cus_integrations AS integration ON integration.id = scoped.integration_id
    WHERE scoped.deleted_at IS NULL AND scoped.enabled AND integration.deleted_at IS NULL
        AND scoped.valid_from <= now()
        AND (scoped.valid_until IS NULL OR scoped.valid_until > now())
)
SELECT scoped.tenant_id, scoped.integration_id, scoped.integration_name, scoped.id, scoped.scope,
    scoped.tag, taken.value, scoped.unit, scoped."window", scoped.amount,
    ({_amount("taken.used")})::numeric, ({_amount("taken.held")})::numeric
FROM in_force AS scoped CROSS JOIN LATERAL (
    SELECT value, {_SUMS} FROM (
        SELECT sums.value, {", ".join(_UNITS)}, {_NOTHING}
        FROM cus_limit_totals AS sums
        WHERE sums.tenant_id = scoped.tenant_id AND sums.limit_id = scoped.id
            AND CASE scoped."window" WHEN 'minute' THEN sums.start > now() - interval '61 seconds'
                WHEN 'life' THEN true
                ELSE sums.start = date_trunc(scoped."window", now(), 'UTC') END
        UNION ALL
        SELECT sums.value, {_NOTHING},
            {", ".join(f"sums.held_{unit} + sums.leased_{unit}" for unit in _UNITS)}
        FROM cus_limit_holds AS sums
        WHERE sums.tenant_id = scoped.tenant_id AND sums.limit_id = scoped.id
            AND (scoped."window" <> 'minute' OR sums.start > now() - interval '61 seconds')
    ) AS part(value, {_NAMES}) GROUP BY value
) AS taken
WHERE 100 * (({_amount("taken.used")}) + ({_amount("taken.held")})) >= {min(LEVELS)}
        * scoped.amount::numeric * CASE scoped.unit WHEN 'cents' THEN {MICROCENTS_PER_CENT} ELSE 1 END
    AND NOT EXISTS (SELECT FROM in_force AS other WHERE {_SAME_KIND}
        AND (other.value IS NULL OR other.value = taken.value)
        AND {_RANK.format("other")} > {_RANK.format("scoped")})
"""  # noqa: S608  (the names are the product's own)


class _Row(NamedTuple):
    """A limit at a scope, a value that it counts, and what is taken of it."""

    tenant_id: uuid.UUID
    integration_id: uuid.UUID | None
    integration: str
    limit_id: uuid.UUID
    scope: str
    tag: str
    value: str
    unit: str
    window: str
    amount: int
    used: int
    held: int

    @property
    def named(self) -> str:
        """The value, for a tag with its key, as reasons of decisions have it."""
        return f"{self.tag}={self.value}" if self.tag else self.value


def scoped_limits(now: datetime) -> Iterator[LimitReading]:
    """Readings of limits at scopes that have reached the first level."""
    with connection.cursor() as cursor:
        cursor.execute(_SCOPED)
        rows = [_Row(*row) for row in cursor.fetchall()]
    starts = {window: started(window, now) for window in Window}
    for row in rows:
        unit, window = Unit(row.unit), Window(row.window)
        whose = named_text(row.scope, row.value, row.tag) if row.value else "all calls"
        yield LimitReading(
            tenant_id=row.tenant_id,
            integration_id=row.integration_id,
            integration=row.integration,
            limit=str(row.limit_id),
            label=f"{whose}, {window.over}",
            unit=unit,
            window=window,
            window_start=starts[window],
            used=int(row.used),
            held=int(row.held),
            amount=row.amount * MICROCENTS_PER_CENT if unit is Unit.CENTS else row.amount,
            scope=row.scope,
            value=row.named[:200],
            limit_id=row.limit_id,
        )
