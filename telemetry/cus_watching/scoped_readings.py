"""What is taken of limits at scopes now, of each value that has reached the first level.

A run's budget in code is its program's own, so nobody is told of it.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

import structlog
from django.db import connection

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_lifecycle.limits import Unit, Window
from integrations.cus_lifecycle.scope_words import named_text
from integrations.cus_notifications.announcing import LimitReading, started
from integrations.cus_notifications.kinds import LEVELS
from telemetry.cus_time_limits import TooSlow, statements_within

log = structlog.get_logger(__name__)

# Of the column of events.
_VALUE_LENGTH: Final = 200
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


def _kinds_from(level: int) -> str:
    kinds = ", ".join(f"'{kind}'" for of, kind in LEVELS.items() if of >= level)
    return f"ARRAY[{kinds}]"


# So many readings of a tenant are told of at a time: the others are next.
_MOST: Final = 1_000
# Of a tenant whose limits count so many values that they are not read in this time, nobody is told:
# it must not keep other tenants from being told.
_MILLISECONDS: Final = 5_000
_WHOLE: Final = f"""(scoped.amount::numeric
    * CASE scoped.unit WHEN 'cents' THEN {MICROCENTS_PER_CENT} ELSE 1 END)"""
_TAKEN: Final = f"(({_amount('taken.used')}) + ({_amount('taken.held')}))"
# The kinds of events one of which has told of the level that is reached, or of a higher one.
_TELLING: Final = "CASE {} END".format(
    " ".join(
        f"WHEN 100 * {_TAKEN} >= {level} * {_WHOLE} THEN {_kinds_from(level)}"
        for level in sorted(LEVELS, reverse=True)
    )
)
_TENANTS: Final = """
SELECT DISTINCT tenant_id FROM cus_scoped_limits WHERE deleted_at IS NULL AND enabled ORDER BY 1
"""
# Totals and holds in one statement, so that a call is in one of them and not in both.
_SCOPED = f"""
WITH in_force AS (
    SELECT scoped.*, coalesce(integration.name, '') AS integration_name
    FROM cus_scoped_limits AS scoped
    JOIN cus_tenants AS tenant ON tenant.id = scoped.tenant_id AND tenant.closed_at IS NULL
    LEFT JOIN cus_integrations AS integration ON integration.id = scoped.integration_id
    WHERE scoped.tenant_id = %(tenant)s
        AND scoped.deleted_at IS NULL AND scoped.enabled AND integration.deleted_at IS NULL
        AND scoped.valid_from <= now()
        AND (scoped.valid_until IS NULL OR scoped.valid_until > now())
)
SELECT scoped.tenant_id, scoped.integration_id, scoped.integration_name, scoped.id, scoped.scope,
    scoped.tag, taken.value, scoped.unit, scoped."window", scoped.amount,
    ({_amount("taken.used")})::numeric, ({_amount("taken.held")})::numeric
FROM in_force AS scoped
JOIN json_to_recordset(%(windows)s) AS present("window" text, start timestamptz) USING ("window")
CROSS JOIN LATERAL (
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
WHERE 100 * {_TAKEN} >= {min(LEVELS)} * {_WHOLE}
    AND NOT EXISTS (SELECT FROM in_force AS other WHERE {_SAME_KIND}
        AND (other.value IS NULL OR other.value = taken.value)
        AND {_RANK.format("other")} > {_RANK.format("scoped")})
    AND NOT EXISTS (SELECT FROM cus_notification_events AS event
        WHERE event.tenant_id = scoped.tenant_id
            AND event.integration_id IS NOT DISTINCT FROM scoped.integration_id
            AND event.subject = scoped.id || ':' || {_WHOLE}
            AND event.value = left(CASE scoped.tag WHEN '' THEN taken.value
                ELSE scoped.tag || '=' || taken.value END, {_VALUE_LENGTH})
            AND event.window_start = present.start AND event.kind = ANY ({_TELLING}))
LIMIT {_MOST}
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
    """Readings of limits at scopes that have reached a level that nobody was told of."""
    starts = {window: started(window, now) for window in Window}
    with connection.cursor() as cursor:
        cursor.execute(_TENANTS)
        tenants = [tenant_id for (tenant_id,) in cursor.fetchall()]
    for tenant_id in tenants:
        yield from _readings(_rows_of(tenant_id, starts), starts)


def _rows_of(tenant_id: uuid.UUID, starts: Mapping[Window, datetime]) -> list[_Row]:
    present = [{"window": window, "start": start.isoformat()} for window, start in starts.items()]
    try:
        with statements_within(_MILLISECONDS) as cursor:
            cursor.execute(_SCOPED, {"tenant": tenant_id, "windows": json.dumps(present)})
            return [_Row(*row) for row in cursor.fetchall()]
    except TooSlow:
        log.warning("limits count too many values to be watched", tenant_id=str(tenant_id))
        return []


def _readings(rows: Iterable[_Row], starts: Mapping[Window, datetime]) -> Iterator[LimitReading]:
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
            value=row.named[:_VALUE_LENGTH],
            limit_id=row.limit_id,
        )
