"""The periodic tasks of telemetry."""

from datetime import timedelta

import structlog
from celery import shared_task

from telemetry.cus_analytics.month_forecast import keep_forecasts
from telemetry.cus_analytics.reconcile import reconcile
from telemetry.cus_analytics.unusual_hours import find_unusual_hours
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_clock import database_now
from telemetry.cus_coverage.claims import flag_unproven_claims
from telemetry.cus_coverage.service import refresh_all_coverage
from telemetry.cus_delivery.sequences import fold_sequences
from telemetry.cus_evidence.partitions import make_partitions
from telemetry.cus_retention.service import drop_old_months
from telemetry.cus_seals.service import seal_all
from telemetry.cus_statements.closing import close_months
from telemetry.cus_watching.limit_readings import watch_limits

log = structlog.get_logger(__name__)

# Beat starts a run each minute.
_ROLLUP = timedelta(seconds=50)


@shared_task(name="telemetry.tasks.cus_rollup_usage")
def cus_rollup_usage() -> None:
    """Update the figures of hours and days."""
    result = rollup_usage(database_now(), within=_ROLLUP)
    log.info(
        "usage rolled up",
        days=len(result.days),
        failed=len(result.failed),
        waiting=result.waiting,
    )


@shared_task(name="telemetry.tasks.cus_reconcile_usage")
def cus_reconcile_usage() -> None:
    """Compare hours, days and totals with the evidence, and repair hours and days."""
    run = reconcile(database_now())
    log.info(
        "usage compared with its evidence",
        differences=run.differences.count(),
        failed_tenants=run.failed_tenants,
    )


@shared_task(name="telemetry.tasks.cus_find_unusual_hours")
def cus_find_unusual_hours() -> None:
    """Keep hours that cost far more than is usual as events."""
    found = find_unusual_hours(database_now())
    if found:
        log.warning("hours cost far more than is usual", events=found)


@shared_task(name="telemetry.tasks.cus_keep_forecasts")
def cus_keep_forecasts() -> None:
    """Compute what the month will have cost at its end, for the metrics."""
    log.info("costs of the month forecast", integrations=keep_forecasts(database_now()))


@shared_task(name="telemetry.tasks.cus_watch_limits")
def cus_watch_limits() -> None:
    """Announce limits of which 80, 95 or 100 % are taken."""
    told = watch_limits(database_now())
    if told:
        log.info("levels of limits announced", events=told)


@shared_task(name="telemetry.tasks.cus_make_partitions")
def cus_make_partitions() -> None:
    """Keep the partitions of the usage table three months ahead."""
    for month in make_partitions(database_now()):
        log.info("partition made", month=str(month))


@shared_task(name="telemetry.tasks.cus_refresh_coverage")
def cus_refresh_coverage() -> None:
    """Add late calls to each integration's coverage of 7 days (rulings F8, F8a)."""
    log.info("coverage refreshed", integrations=refresh_all_coverage(database_now()))


@shared_task(name="telemetry.tasks.cus_flag_unproven_claims")
def cus_flag_unproven_claims() -> None:
    """Flag claims of governed calls that have no record a day later (ruling F8a)."""
    flagged = flag_unproven_claims(database_now())
    if flagged:
        log.warning("governed calls were claimed and not reported", integrations=flagged)


@shared_task(name="telemetry.tasks.cus_fold_sequences")
def cus_fold_sequences() -> None:
    """Fold the sequences that arrived, so that gaps are quick to compute."""
    fold_sequences(database_now())


@shared_task(name="telemetry.tasks.cus_seal_evidence")
def cus_seal_evidence() -> None:
    """Seal each tenant's days that closed an hour ago (ruling E5).

    The log tells the digests, so that logs which are kept elsewhere prove them, too.
    """
    for outcome in seal_all(database_now()):
        tenant_id = str(outcome.tenant_id)
        if outcome.seal:
            day = outcome.seal.day.isoformat()
            log.info("evidence sealed", tenant_id=tenant_id, day=day, digest=outcome.seal.digest)
        else:
            log.error("evidence could not be sealed", tenant_id=tenant_id, error=str(outcome.error))


@shared_task(name="telemetry.tasks.cus_close_months")
def cus_close_months() -> None:
    """Keep each tenant's month that is over as a sealed statement, unless finance did (ruling M9)."""
    for outcome in close_months(database_now()):
        names = {"tenant_id": str(outcome.tenant_id), "month": f"{outcome.month:%Y-%m}"}
        if outcome.statement:
            log.info("month closed", **names, digest=outcome.statement.digest)
        else:
            log.error("a month could not be closed", **names, error=str(outcome.error))


@shared_task(name="telemetry.tasks.cus_drop_old_months")
def cus_drop_old_months() -> None:
    """Drop the months of usage rows that are older than `CUS_RETENTION_MONTHS` (ruling E5)."""
    for old in drop_old_months(database_now()):
        if old.obstacle:
            log.error("an old month can't be dropped", month=str(old.month), reason=old.obstacle)
