"""The page of `/metrics`: signals of facts, decisions and jobs, and the web processes' own."""

from collections.abc import Iterator
from datetime import datetime

from django.conf import settings
from django.db import connection
from django.http import HttpRequest
from django_prometheus.exports import ExportToDjangoView
from redis import Redis, RedisError

from aos_project.cus_queues import QUEUES
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_signals import decision_families
from telemetry.cus_evidence.partitions import TABLE
from telemetry.cus_signals.endings import outcome_families
from telemetry.cus_signals.exposition import CusFamily, counter, gauge, page_of
from telemetry.cus_signals.integrations import integration_families
from telemetry.cus_signals.limits import limit_families
from telemetry.cus_signals.upkeep import upkeep_families
from telemetry.cus_signals.usage import usage_families

# The tables that have a partition a month, by what people call them.
_PARTITIONED = {"usage": TABLE, "decisions": CusEnforcementDecision._meta.db_table}
_BROKER_SECONDS = 1


def metrics_page(request: HttpRequest, now: datetime, *, gzip: bool) -> bytes:
    """All series in Prometheus' text format, compressed if asked. Raises DatabaseError.

    Last come those that django-prometheus counts of pages and of people's API. The web processes of
    a machine share them in a folder (`PROMETHEUS_MULTIPROC_DIR`); without it, a scrape shows those
    of the process that answers.
    """
    web: bytes = ExportToDjangoView(request).content
    return page_of(families(now), web, gzip=gzip)


def families(now: datetime) -> Iterator[CusFamily]:
    """Our own metrics, each with its series of now."""
    yield from usage_families()
    yield from outcome_families()
    yield from decision_families()
    yield from integration_families(now)
    yield from limit_families(now)
    yield from upkeep_families(now, _PARTITIONED)
    yield from _jobs()
    yield from _queues()


_JOBS = """
SELECT name, succeeded, failed, seconds, last_seconds,
    extract(epoch FROM last_succeeded_at)::float8, extract(epoch FROM last_failed_at)::float8
FROM cus_job_totals ORDER BY name
"""


def _jobs() -> Iterator[CusFamily]:
    runs = counter("cus_integration_job_runs_total", "Runs of a job by all workers.")
    seconds = counter("cus_integration_job_seconds_total", "How long a job's runs took.")
    last = gauge("cus_integration_job_last_seconds", "How long a job's last run took.")
    succeeded = gauge(
        "cus_integration_job_success_timestamp_seconds", "When a job last ended without an error."
    )
    failed = gauge(
        "cus_integration_job_failure_timestamp_seconds", "When a job last ended with an error."
    )
    with connection.cursor() as cursor:
        cursor.execute(_JOBS)
        for name, good, bad, sum_seconds, last_seconds, good_at, bad_at in cursor.fetchall():
            labels = f'job_name="{name}"'
            runs.add(f'{labels},outcome="succeeded"', good)
            runs.add(f'{labels},outcome="failed"', bad)
            seconds.add(labels, sum_seconds)
            last.add(labels, last_seconds)
            for family, moment in ((succeeded, good_at), (failed, bad_at)):
                if moment is not None:
                    family.add(labels, moment)
    yield from (runs, seconds, last, succeeded, failed)


def _queues() -> Iterator[CusFamily]:
    up = gauge("cus_integration_broker_up", "1 if the broker of jobs answers, else 0.")
    waiting = gauge("cus_integration_jobs_waiting", "Jobs that no worker has taken yet.")
    try:
        with Redis.from_url(settings.REDIS_URL, socket_timeout=_BROKER_SECONDS) as broker:
            # Celery keeps a queue as a list of that name.
            for queue in QUEUES:
                waiting.add(f'queue="{queue}"', int(broker.llen(queue)))
        up.add("", 1)
    except RedisError:
        up.add("", 0)
    yield from (up, waiting)
