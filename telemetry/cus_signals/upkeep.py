"""Gauges of what keeps facts in order: rollup, reconcile, partitions, seals, unusual hours."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from django.db import connection

from telemetry.cus_analytics.models import CusReconcileDifference
from telemetry.cus_evidence.partitions import Month, existing_months
from telemetry.cus_signals.exposition import CusFamily, gauge, labels_of


def upkeep_families(now: datetime, partitioned: Mapping[str, str]) -> Iterator[CusFamily]:
    """The gauges of now. Moments are in seconds since 1970.

    `partitioned` names the tables that have a partition a month, by the label `log`.
    """
    yield from _rollup()
    yield from _reconcile()
    yield _partitions(now, partitioned)
    yield _seals()
    yield _unusual_hours()


_ROLLUP = """
SELECT extract(epoch FROM max(covered_to))::float8 FROM cus_rollup_runs
"""
_DUE = """
SELECT tenant.id::text, count(due.hour), count(due.hour) FILTER (WHERE due.failures > 0)
FROM cus_tenants AS tenant LEFT JOIN cus_rollup_due AS due ON due.tenant_id = tenant.id GROUP BY 1
"""


def _rollup() -> Iterator[CusFamily]:
    covered = gauge(
        "cus_llm_rollup_covered_timestamp_seconds",
        "Up to when the rollup has read what was received.",
    )
    due = gauge("cus_llm_rollup_due", "Hours of a tenant that wait to be recomputed.")
    failed = gauge(
        "cus_llm_rollup_failed",
        "Hours of a tenant that the last run could not recompute; the next run tries again.",
    )
    with connection.cursor() as cursor:
        cursor.execute(_ROLLUP)
        (moment,) = cursor.fetchone()
        if moment is not None:
            covered.add("", moment)
        cursor.execute(_DUE)
        for tenant_id, waiting, failures in cursor.fetchall():
            due.add(f'tenant_id="{tenant_id}"', waiting)
            failed.add(f'tenant_id="{tenant_id}"', failures)
    yield from (covered, due, failed)


_LAST_RECONCILE = """
SELECT id, extract(epoch FROM started_at)::float8 FROM cus_reconcile_runs
WHERE finished_at IS NOT NULL ORDER BY started_at DESC LIMIT 1
"""
_DIFFERENCES = """
SELECT tenant_id::text, integration_id::text, kind, count(*) FROM cus_reconcile_differences
WHERE run_id = %s GROUP BY 1, 2, 3
"""


def _reconcile() -> Iterator[CusFamily]:
    moment = gauge(
        "cus_llm_reconcile_timestamp_seconds",
        "When analytics and totals were last compared with the evidence.",
    )
    differences = gauge(
        "cus_llm_reconcile_differences",
        "Figures that differed from the evidence at the last comparison.",
    )
    with connection.cursor() as cursor:
        cursor.execute(_LAST_RECONCILE)
        if last := cursor.fetchone():
            moment.add("", last[1])
            # So that a kind's sum is 0 where nothing differed.
            for kind in CusReconcileDifference.Kind:
                differences.add(f'{labels_of("platform", "none")},kind="{kind}"', 0)
            cursor.execute(_DIFFERENCES, [last[0]])
            for tenant_id, integration_id, kind, count in cursor.fetchall():
                differences.add(f'{labels_of(tenant_id, integration_id)},kind="{kind}"', count)
    yield from (moment, differences)


def _partitions(now: datetime, partitioned: Mapping[str, str]) -> CusFamily:
    ahead = gauge(
        "cus_llm_partitions_ahead_months", "Months after this one that a table can store already."
    )
    for log, table in partitioned.items():
        present = existing_months(table=table)
        months = 0
        while Month.of(now).shifted(months + 1) in present:
            months += 1
        ahead.add(f'log="{log}"', months)
    return ahead


# A day's seal is due an hour after the day. Each day from a tenant's first fact on has one.
_SEALED = """
SELECT tenant.id::text, extract(epoch FROM seal.day + 1)::float8
FROM cus_tenants AS tenant CROSS JOIN LATERAL (
    SELECT day FROM cus_evidence_seals WHERE tenant_id = tenant.id ORDER BY day DESC LIMIT 1
) AS seal
"""


def _seals() -> CusFamily:
    until = gauge(
        "cus_llm_sealed_timestamp_seconds", "Up to when a tenant's evidence is sealed, in days."
    )
    with connection.cursor() as cursor:
        cursor.execute(_SEALED)
        for tenant_id, moment in cursor.fetchall():
            until.add(f'tenant_id="{tenant_id}"', moment)
    return until


_UNUSUAL = """
SELECT tenant_id::text, integration_id::text, subject, count(*) FROM cus_usage_anomalies
WHERE hour >= now() - interval '1 day' GROUP BY 1, 2, 3
"""


def _unusual_hours() -> CusFamily:
    found = gauge(
        "cus_integration_anomalies",
        "Hours of the last day that cost more than five times what is usual.",
    )
    with connection.cursor() as cursor:
        cursor.execute(_UNUSUAL)
        for tenant_id, integration_id, subject, count in cursor.fetchall():
            found.add(f'{labels_of(tenant_id, integration_id)},subject="{subject}"', count)
    return found
