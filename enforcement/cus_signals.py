"""Counters of decisions, from their totals at scrape time (rulings O1, O2)."""

from collections.abc import Iterator

from django.db import connection

from aos_sdk.cus_wire import CusEnforcementResult as Result
from aos_sdk.cus_wire import CusReasonCode as Code
from telemetry.cus_signals.exposition import SHOWN, CusFamily, counter, labels_of

_REFUSED = (Result.BLOCKED, Result.HARD_BLOCKED)
# Every integration has its series from the start. Otherwise `increase()` misses the first count.
_TOTALS = f"""
SELECT integration.tenant_id::text, integration.id::text, coalesce(total.degraded, 0),
    coalesce(total.contention, 0), {", ".join(f"coalesce(total.{name.value}, 0)" for name in Result)}
FROM cus_integrations AS integration LEFT JOIN cus_decision_totals AS total ON
    (total.tenant_id, total.integration_id) = (integration.tenant_id, integration.id)
WHERE {SHOWN}
"""  # noqa: S608  (the names are this module's own)
_REASONS = f"""
SELECT integration.tenant_id::text, integration.id::text, total.result, total.reason,
    total.decisions
FROM cus_integrations AS integration LEFT JOIN cus_decision_reasons AS total ON
    (total.tenant_id, total.integration_id) = (integration.tenant_id, integration.id)
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
        for tenant_id, integration_id, without, busy, *counts in cursor.fetchall():
            whose = labels_of(tenant_id, integration_id)
            for result, count in zip(Result, counts, strict=True):
                decisions.add(f'{whose},result="{result.value}"', count)
            degraded.add(whose, without)
            contention.add(whose, busy)
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
    refusals: dict[str, dict[str, int]] = {}
    others: dict[str, list[int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_REASONS)
        for tenant_id, integration_id, result, reason, count in cursor.fetchall():
            whose = labels_of(tenant_id, integration_id)
            by_reason = refusals.setdefault(whose, dict.fromkeys(_USUAL, 0))
            other = others.setdefault(whose, [0, 0])
            if result in _REFUSED:
                by_reason[reason] = by_reason.get(reason, 0) + count
            elif result == Result.THROTTLED:
                other[0] += count
            if reason == Code.STATE_UNKNOWN:
                other[1] += count
    for whose, by_reason in refusals.items():
        for reason, count in by_reason.items():
            blocked.add(f'{whose},reason="{reason}"', count)
        throttled.add(whose, others[whose][0])
        unknown.add(whose, others[whose][1])
    yield from (blocked, throttled, unknown)
