"""How far the rollup is, and what the last comparison with the evidence found, as metrics."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Count, Q
from prometheus_client.core import GaugeMetricFamily

from telemetry.cus_analytics.models import (
    CusReconcileDifference,
    CusReconcileRun,
    CusRollupDue,
    CusRollupRun,
    CusUsageAnomaly,
)
from telemetry.cus_clock import database_now

_ONE_DAY = timedelta(days=1)


def analytics_metrics() -> Iterator[GaugeMetricFamily]:
    """The gauges of now. Moments are in seconds since 1970."""
    yield _covered()
    yield from _due()
    yield from _reconciled()
    yield _unusual(database_now())


def _covered() -> GaugeMetricFamily:
    says = "Up to when the rollup has read what was received."
    family = GaugeMetricFamily("cus_rollup_covered_timestamp_seconds", says)
    last = CusRollupRun.objects.order_by("-covered_to").first()
    if last:
        family.add_metric([], last.covered_to.timestamp())
    return family


def _due() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    says = "Hours of a tenant that wait to be recomputed."
    due = GaugeMetricFamily("cus_rollup_due_hours", says, labels=("tenant_id",))
    says = "Hours of a tenant that the last run could not recompute; the next run tries again."
    failed = GaugeMetricFamily("cus_rollup_failed_hours", says, labels=("tenant_id",))
    counts = CusRollupDue.objects.values_list("tenant_id").annotate(
        waiting=Count("hour"), failed=Count("hour", filter=Q(failures__gt=0))
    )
    for tenant_id, waiting, failures in counts:
        due.add_metric([str(tenant_id)], waiting)
        failed.add_metric([str(tenant_id)], failures)
    return due, failed


def _reconciled() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    says = "When analytics and totals were last compared with the evidence."
    moment = GaugeMetricFamily("cus_usage_reconcile_timestamp_seconds", says)
    says = "Figures that differed from the evidence at the last comparison."
    labels = ("tenant_id", "integration_id", "kind")
    differences = GaugeMetricFamily("cus_usage_reconcile_differences", says, labels=labels)
    last = CusReconcileRun.objects.exclude(finished_at=None).order_by("-started_at").first()
    if last:
        moment.add_metric([], last.started_at.timestamp())
        counts = CusReconcileDifference.objects.filter(run=last).values_list(*labels)
        for tenant_id, integration_id, kind, count in counts.annotate(found=Count("id")):
            differences.add_metric([str(tenant_id), str(integration_id), kind], count)
    return moment, differences


def _unusual(now: datetime) -> GaugeMetricFamily:
    says = "Hours of the last day that cost more than five times what is usual."
    labels = ("tenant_id", "integration_id", "subject")
    family = GaugeMetricFamily("cus_usage_anomalies", says, labels=labels)
    events = CusUsageAnomaly.objects.filter(hour__gte=now - _ONE_DAY).values_list(*labels)
    for tenant_id, integration_id, subject, count in events.annotate(found=Count("*")):
        family.add_metric([str(tenant_id), str(integration_id), subject], count)
    return family
