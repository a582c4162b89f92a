"""Counters of decisions, from their totals at scrape time (rulings O1, O2)."""

from collections.abc import Iterator

from django.db import connection

from aos_sdk.cus_wire import CusEnforcementResult as Result
from aos_sdk.cus_wire import CusReasonCode as Code
from telemetry.cus_signals.exposition import SHOWN, CusFamily, counter, labels_of
from telemetry.cus_sums import execute_sums

_IS_REFUSED = f"result IN ('{Result.BLOCKED}', '{Result.HARD_BLOCKED}')"
# Every integration has its series from the start. Otherwise `increase()` misses the first count.
_TOTALS = f"""
SELECT integration.tenant_id::text, integration.id::text, coalesce(total.degraded, 0),
    coalesce(total.contention, 0), {", ".join(f"coalesce(total.{name.value}, 0)" for name in Result)}
FROM cus_integrations AS integration LEFT JOIN cus_decision_totals AS total ON
    (total.tenant_id, total.integration_id) = (integration.tenant_id, integration.id)
WHERE {SHOWN}
"""  # noqa: S608  (the names are this module's own)
_REASONS = f"""
SELECT integration.tenant_id::text, integration.id::text, coalesce(total.throttled, 0),
    coalesce(total.unknown, 0), total.reasons, total.refusals
FROM cus_integrations AS integration LEFT JOIN (
    SELECT tenant_id, integration_id,
        cus_sum(decisions) FILTER (WHERE result = '{Result.THROTTLED}') AS throttled,
        cus_sum(decisions) FILTER (WHERE reason = '{Code.STATE_UNKNOWN}') AS unknown,
        string_agg(reason, ',') FILTER (WHERE {_IS_REFUSED}) AS reasons,
        string_agg(decisions::text, ',') FILTER (WHERE {_IS_REFUSED}) AS refusals
    FROM cus_decision_reasons GROUP BY 1, 2
) AS total ON (total.tenant_id, total.integration_id) = (integration.tenant_id, integration.id)
WHERE {SHOWN}
"""  # noqa: S608
# The usual reasons of refusals, which have series from the start.
_USUAL = (
    Code.BUDGET_EXCEEDED,
    Code.TOKEN_LIMIT_EXCEEDED,
    Code.ESTIMATE_EXCEEDS_ROOM,
    Code.INTEGRATION_DISABLED,
    Code.CREDENTIALS_INVALID,
)


def decision_families() -> Iterator[CusFamily]:
    """Decisions by result and by reason; those without evidence, and those under contention."""
    decisions = counter(
        "cus_enforcement_decisions_total", "Checks by result, plain allowed included."
    )
    degraded = counter(
        "cus_enforcement_degraded_total", "Checks that admitted a call without evidence."
    )
    contention = counter(
        "cus_enforcement_contention_total",
        "Checks that could not be decided in time, or beyond the integration's share.",
    )
    with connection.cursor() as cursor:
        cursor.execute(_TOTALS)
        rows = cursor.fetchall()
    whose = [labels_of(tenant_id, integration_id) for tenant_id, integration_id, *_ in rows]
    columns = list(zip(*rows, strict=True))[2:]
    for family, column in zip((degraded, contention), columns, strict=False):
        family.add_all(whose, column)
    for result, column in zip(Result, columns[2:], strict=False):
        decisions.add_all(whose, column, f',result="{result.value}"')
    yield from (decisions, degraded, contention)
    yield from _reasons()


def _reasons() -> Iterator[CusFamily]:
    blocked = counter(
        "cus_enforcement_blocked_total", "Checks that refused: blocked or hard-blocked."
    )
    throttled = counter("cus_enforcement_throttled_total", "Checks that asked to come back later.")
    unknown = counter(
        "cus_enforcement_state_unknown_total",
        "Calls that an SDK decided on without ever having known the integration's state.",
    )
    with connection.cursor() as cursor:
        execute_sums(cursor, _REASONS)
        rows = cursor.fetchall()
    labels = [labels_of(tenant_id, integration_id) for tenant_id, integration_id, *_ in rows]
    throttled.add_all(labels, [row[2] for row in rows])
    unknown.add_all(labels, [row[3] for row in rows])
    for whose, (*_, reasons, counts) in zip(labels, rows, strict=True):
        by_reason = dict.fromkeys(_USUAL, 0)
        if reasons is not None:
            for reason, count in zip(reasons.split(","), counts.split(","), strict=True):
                by_reason[reason] = by_reason.get(reason, 0) + int(count)
        for reason, refused in by_reason.items():
            blocked.add(f'{whose},reason="{reason}"', refused)
    yield from (blocked, throttled, unknown)
