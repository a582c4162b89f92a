"""The periodic tasks of enforcement."""

import uuid
from datetime import timedelta
from typing import Any

import structlog
from celery import shared_task
from django.conf import settings
from redis import Redis

from enforcement.cus_decisions.first_refusals import watch_refusals
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_decisions.sdk_decisions import take_in
from enforcement.cus_learning.lessons import learn
from enforcement.cus_what_if.service import is_busy, keep_waiting, run_simulation
from telemetry.cus_clock import database_now
from telemetry.cus_evidence.partitions import make_partitions
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease
from telemetry.cus_holds.sweeping import sweep, sweep_limits

# `CELERY_TASK_ROUTES` sends sweeps there.
_QUEUE = "cus_holds"
# Twice the time that ruling F5b gives the sweeper: older holds show that no sweeper runs.
_LATE = timedelta(seconds=60)
# Beat starts a run each minute.
_LEARNING = timedelta(seconds=45)
# How long a simulation may take, and how long one waits for another.
_SIMULATION_SECONDS = 3_600
_TURN_SECONDS = 5

log = structlog.get_logger(__name__)


@shared_task(name="enforcement.tasks.cus_sweep_holds")
def cus_sweep_holds() -> None:
    """Remove expired holds and leases."""
    holds, leases = sweep()
    if holds or leases:
        log.info("swept", holds=holds, leases=leases)


@shared_task(name="enforcement.tasks.cus_sweep_limits")
def cus_sweep_limits() -> None:
    """Remove what limits at scopes no longer count."""
    if swept := sweep_limits():
        log.info("swept limits", rows=swept)


@shared_task(name="enforcement.tasks.cus_sweep_late_holds")
def cus_sweep_late_holds() -> None:
    """Sweep late in place of a missing worker, and log an error."""
    late = database_now() - _LATE
    counting = (CusEnforcementHold, CusEnforcementLease)
    if not any(kind.objects.filter(expires_at__lt=late).exists() for kind in counting):
        return
    log.error("holds are swept late: is a worker running with -Q cus_holds?")
    sweep()
    # Without a worker, messages would fill the broker, which all queues share.
    with Redis.from_url(settings.REDIS_URL, socket_timeout=5) as broker:
        broker.delete(_QUEUE)


@shared_task(name="enforcement.tasks.cus_take_in_decisions")
def cus_take_in_decisions() -> None:
    """Append the decisions of SDKs, which came with their calls' records."""
    taken = take_in()
    if taken:
        log.info("decisions of SDKs taken in", decisions=taken)


@shared_task(name="enforcement.tasks.cus_watch_refusals")
def cus_watch_refusals() -> None:
    """Announce reasons and limits that have begun to refuse calls."""
    told = watch_refusals(database_now())
    if told:
        log.info("first refusals announced", events=told)


@shared_task(name="enforcement.tasks.cus_make_decision_partitions")
def cus_make_decision_partitions() -> None:
    """Keep the partitions of the decision log three months ahead."""
    for month in make_partitions(database_now(), table=CusEnforcementDecision._meta.db_table):
        log.info("partition of decisions made", month=str(month))


@shared_task(name="enforcement.tasks.cus_learn_from_calls")
def cus_learn_from_calls() -> None:
    """Learn from new calls how long outputs are, and which models answer to which names."""
    learn(database_now(), within=_LEARNING)


@shared_task(
    name="enforcement.tasks.cus_simulate",
    bind=True,
    max_retries=None,
    time_limit=_SIMULATION_SECONDS,
)
def cus_simulate(task: Any, simulation_id: str) -> None:
    """Replay a simulation that is too large for a request, when no other one runs."""
    named = uuid.UUID(simulation_id)
    if is_busy():
        if keep_waiting(named):
            raise task.retry(countdown=_TURN_SECONDS)
        return
    simulation = run_simulation(named)
    if simulation:
        log.info("simulated", rows=simulation.rows, status=simulation.status)
