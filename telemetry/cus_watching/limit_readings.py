"""What is taken of each limit now, from evidence: those that people are told of, and no others.

`SOURCES` are the kinds of limits; each yields readings of limits that have reached the first level.
For people alone: a decision reads the same tables under its own lock (ruling F5).
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, Final

from django.db import connection

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_lifecycle.limits import LIMITS, RATES, Limit, Unit, Window, month_of
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_notifications.announcing import LimitReading, announce_limits, started
from integrations.cus_notifications.kinds import LEVELS
from telemetry.cus_evidence.admission_models import CusAdmissions
from telemetry.cus_holds.admissions import ADMITTED_LAST_MINUTE
from telemetry.cus_money.amounts import USED_IN_MONTH, capped, summed
from telemetry.cus_watching.scoped_readings import scoped_limits

_EXACT: Final = CusIntegration.BudgetBasis.EXACT
_FIRST_LEVEL: Final = min(LEVELS)
# So many readings are in memory at a time.
_AT_ONCE: Final = 1_000
_BUCKETS: Final = ("cus_landed_admissions", "cus_running_admissions")
_SPANS: Final = {
    Window.MINUTE: (CusAdmissions.Span.SECOND, "> now() - interval '61 seconds'"),
    Window.DAY: (CusAdmissions.Span.DAY, "= date_trunc('day', now(), 'UTC')"),
}


def _admitted(limit: Limit) -> str:
    """SQL for what was admitted in a rate's window, of an `integration` in sight."""
    if limit.unit is Unit.CALLS and limit.window is Window.MINUTE:
        return f"({ADMITTED_LAST_MINUTE})::bigint"
    span, since = _SPANS[limit.window]
    sums = " + ".join(
        f"""(SELECT coalesce(sum(bucket.{limit.unit}), 0) FROM {table} AS bucket
            WHERE bucket.tenant_id = integration.tenant_id
                AND bucket.integration_id = integration.id
                AND bucket.span = '{span}' AND bucket.start {since})"""  # noqa: S608  (the names are the tables' own)
        for table in _BUCKETS
    )
    return capped(f"greatest({sums}, 0)")


def _only_if_set(limit: Limit) -> str:
    return f"CASE WHEN integration.{limit.column} > 0 THEN {_admitted(limit)} ELSE 0 END"


def _amount(limit: Limit) -> str:
    """SQL for the limit's amount; 0 while a temporary limit at a scope stands in for it."""
    return f"""CASE WHEN EXISTS (SELECT FROM cus_scoped_limits AS scoped
        WHERE scoped.tenant_id = integration.tenant_id AND scoped.integration_id = integration.id
            AND scoped.scope = 'integration' AND scoped.deleted_at IS NULL AND scoped.enabled
            AND scoped.unit = '{limit.unit}' AND scoped."window" = '{limit.window}'
            AND scoped.valid_from <= now() AND scoped.valid_until > now()
        ) THEN 0 ELSE integration.{limit.column}::bigint END"""


# One statement, so that a call is either in the totals or in the holds.
_OWN = f"""
SELECT integration.tenant_id, integration.id, integration.name, integration.budget_basis,
    used.cents, used.microcents, used.tokens,
    coalesce(held.cents, 0), coalesce(held.microcents, 0), coalesce(held.tokens, 0),
    ARRAY[{", ".join(map(_amount, LIMITS))}],
    ARRAY[{", ".join(map(_only_if_set, RATES))}]
FROM cus_integrations AS integration
JOIN cus_tenants AS tenant ON tenant.id = integration.tenant_id AND tenant.closed_at IS NULL
{USED_IN_MONTH}
LEFT JOIN (
    SELECT tenant_id, integration_id, {summed("cents + leased_cents")} AS cents,
        {summed("microcents + leased_microcents")} AS microcents,
        {summed("tokens + leased_tokens")} AS tokens
    FROM cus_hold_sums GROUP BY 1, 2
) AS held ON (held.tenant_id, held.integration_id) = (integration.tenant_id, integration.id)
WHERE integration.deleted_at IS NULL
    AND ({" OR ".join(f"integration.{limit.column} > 0" for limit in LIMITS)})
"""  # noqa: S608  (the names are the product's own)


def own_limits(now: datetime) -> Iterator[LimitReading]:
    """Readings of integrations' own limits (§3.1)."""
    with connection.cursor() as cursor:
        cursor.execute(_OWN, {"period": month_of(now)[0].date()})
        for row in cursor.fetchall():
            yield from _readings(row, now)


def _readings(row: tuple[Any, ...], now: datetime) -> Iterator[LimitReading]:
    tenant_id, integration_id, name, basis, *sums, amounts, admitted = row
    rates = dict(zip((limit.column for limit in RATES), admitted, strict=True))
    for limit, amount in zip(LIMITS, amounts, strict=True):
        if not amount:
            continue
        used, held = _taken(limit, sums, rates, exact=basis == _EXACT)
        yield LimitReading(
            tenant_id=tenant_id,
            integration_id=integration_id,
            integration=name,
            limit=limit.column,
            label=limit.label.removesuffix(" (cents)"),
            unit=limit.unit,
            window=limit.window,
            window_start=started(limit.window, now),
            used=used,
            held=held,
            amount=amount * MICROCENTS_PER_CENT if limit.unit is Unit.CENTS else amount,
        )


def _taken(limit: Limit, sums: list[int], rates: dict[str, int], *, exact: bool) -> tuple[int, int]:
    """(used, held) of a limit; money in microcents, on the budget's basis (ruling M3)."""
    used_cents, used_microcents, used_tokens, held_cents, held_microcents, held_tokens = sums
    if limit.admissions:
        return rates[limit.column], 0
    if limit.unit is Unit.TOKENS:
        return used_tokens, held_tokens
    if exact:
        return used_microcents, held_microcents
    return used_cents * MICROCENTS_PER_CENT, held_cents * MICROCENTS_PER_CENT


SOURCES: Final[tuple[Callable[[datetime], Iterator[LimitReading]], ...]] = (
    own_limits,
    scoped_limits,
)


def watch_limits(now: datetime) -> int:
    """Announce the levels that limits have reached; return the number of new ones."""
    reached = (
        reading
        for source in SOURCES
        for reading in source(now)
        if 100 * reading.taken >= _FIRST_LEVEL * reading.amount
    )
    told = 0
    while some := list(islice(reached, _AT_ONCE)):
        told += announce_limits(some, now=now)
    return told
