"""Ask what proposed limits would have done, and find out."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
import structlog
from django.db import OperationalError, transaction
from django.db.models import QuerySet

from enforcement.cus_what_if.at_scopes import LimitsAtScopes
from enforcement.cus_what_if.evidence import Evidence, reading
from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.proposals import (
    authority_of,
    known_limits_of,
    proposal_of,
    scoped_limits_of,
)
from enforcement.cus_what_if.replay import Outcome, Replay
from enforcement.cus_what_if.report import Report
from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.conflicts import refused_by
from integrations.cus_web.errors import CusError
from integrations.cus_web.quotas import SIMULATIONS_A_DAY, made_within_a_day
from telemetry.cus_clock import database_now

logger = structlog.get_logger(__name__)

MOST_DAYS: Final = 90
_KEPT: Final = timedelta(days=30)
# A job that shows no sign of life for so long is not running any more.
_LIFE: Final = timedelta(minutes=10)
_ROWS_A_SIGN: Final = 20_000
# A replay is long work for the processor. It pauses for a moment after so many calls (a millisecond
# or two), so that checks which the same process answers do not queue behind it.
_CALLS_A_PAUSE: Final = 50
_PAUSE_SECONDS: Final = 0.0001


class SimulationNotFound(CusError):
    """There is no such simulation. Simulations are forgotten after 30 days."""

    code, status = "not_found", 404


class SimulationRunning(CusError):
    """A simulation of this integration is running. Wait for its result, then ask again."""

    code, status = "simulation_running", 409


class CusWhatIfService:
    """The simulations of one tenant's integrations."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    def ask(
        self,
        integration: CusIntegration,
        *,
        days: int,
        proposed: Mapping[str, Any],
        scoped_limits: Sequence[Mapping[str, Any]] | None = None,
    ) -> CusSimulation:
        """A new simulation, waiting to be run.

        `proposed` are values of `PROPOSED`; what it does not name stays as the integration has it.
        `scoped_limits` are all limits at scopes to try; None for the permanent ones that hold now
        (`proposal_of`). `days`: 1 to `MOST_DAYS`, back from now. Raises SimulationRunning, QuotaExceeded,
        ValidationError, by field.
        """
        now = database_now()
        self._forget(now)
        self._require_room(now)
        simulation = CusSimulation(
            tenant_id=self.tenant.id,
            integration_id=integration.id,
            asked_by=self.actor.id if self.actor else None,
            days=days,
            since=now - timedelta(days=days),
            until=now,
            proposal=proposal_of(integration, proposed, scoped_limits, now=now),
            created_at=now,
            updated_at=now,
        )
        with reading() as connection:
            simulation.rows = evidence_of(simulation, connection).count()
        with refused_by(cus_simulations_one_at_a_time=SimulationRunning):
            simulation.save(force_insert=True)
        return simulation

    def latest(self, integration: CusIntegration) -> QuerySet[CusSimulation]:
        """An integration's simulations, the newest first."""
        return self._all().filter(integration_id=integration.id).order_by("-created_at")

    def _all(self) -> QuerySet[CusSimulation]:
        return CusSimulation.objects.filter(tenant_id=self.tenant.id)

    def _forget(self, now: datetime) -> None:
        _end_the_dead(self._all(), now)
        self._all().filter(created_at__lt=now - _KEPT).delete()

    def _require_room(self, now: datetime) -> None:
        # Two requests at once may both find the last place; one more does no harm.
        SIMULATIONS_A_DAY.require_room(made_within_a_day(self._all(), "created_at", now))


def find_simulation(among: QuerySet[CusSimulation], simulation_id: uuid.UUID) -> CusSimulation:
    """The simulation among these. Raises SimulationNotFound."""
    _end_the_dead(among.filter(id=simulation_id), database_now())
    simulation = among.filter(id=simulation_id).first()
    if simulation is None:
        raise SimulationNotFound
    return simulation


def run_simulation(simulation_id: uuid.UUID) -> CusSimulation | None:
    """Replay a waiting simulation, and keep its report or why it failed. None if none waits."""
    return _run(simulation_id) if _begin(simulation_id) else None


def run_alone(simulation: CusSimulation) -> CusSimulation | None:
    """The same, unless another simulation of the tenant runs: then None, and the simulation waits.

    So a tenant's simulations never keep more than one thread of the web from others.
    """
    with transaction.atomic():
        # Of two at once the second sees that the first runs.
        CusTenant.objects.select_for_update(no_key=True).get(id=simulation.tenant_id)
        others = _running().filter(tenant_id=simulation.tenant_id)
        if others.exists() or not _begin(simulation.id):
            return None
    return _run(simulation.id)


def _begin(simulation_id: uuid.UUID) -> bool:
    waiting = CusSimulation.objects.filter(id=simulation_id, status=CusSimulation.Status.WAITING)
    return bool(waiting.update(status=CusSimulation.Status.RUNNING, updated_at=database_now()))


def _run(simulation_id: uuid.UUID) -> CusSimulation:
    simulation = CusSimulation.objects.get(id=simulation_id)
    try:
        with reading() as connection:
            ending = _reported(simulation, evidence_of(simulation, connection))
    except OperationalError as error:
        logger.exception("a simulation failed", simulation=str(simulation_id))
        ending = _failed(f"The database gave up ({error}). Ask for fewer days.")
    _end(CusSimulation.objects.filter(id=simulation_id), ending, database_now())
    simulation.refresh_from_db()
    return simulation


def is_busy() -> bool:
    """Whether a simulation runs somewhere; only one job at a time, so that others get a worker."""
    return _running().exists()


def _running() -> QuerySet[CusSimulation]:
    running = CusSimulation.objects.filter(status=CusSimulation.Status.RUNNING)
    return running.filter(updated_at__gt=database_now() - _LIFE)


def keep_waiting(simulation_id: uuid.UUID) -> bool:
    """A simulation's job waits for its turn. False if the simulation does not wait any more."""
    waiting = CusSimulation.objects.filter(id=simulation_id, status=CusSimulation.Status.WAITING)
    return bool(waiting.update(updated_at=database_now()))


def fail_simulation(simulation: CusSimulation, why: str) -> None:
    """End a simulation without a report."""
    _end(CusSimulation.objects.filter(id=simulation.id), _failed(why), database_now())
    simulation.refresh_from_db()


def outcomes_of(simulation: CusSimulation, evidence: Evidence) -> Iterator[Outcome]:
    """The verdicts on all calls of a simulation, in the order of their decisions."""
    return _replay_of(simulation, evidence).outcomes(evidence.events())


def _replay_of(simulation: CusSimulation, evidence: Evidence) -> Replay:
    scopes = LimitsAtScopes(known_limits_of(simulation.proposal), evidence.began)
    for past in scopes.pasts():
        for names, used in evidence.named_before(past):
            scopes.begin_with(past, names, used)
    return Replay(
        authority_of(simulation.proposal),
        scopes,
        used=evidence.used_before(),
        admitted_today=evidence.admitted_before(),
        began=evidence.began,
        since=simulation.since,
    )


def evidence_of(
    simulation: CusSimulation, connection: "psycopg.Connection[tuple[Any, ...]]"
) -> Evidence:
    """What a simulation reads of the evidence."""
    return Evidence(
        connection,
        tenant_id=simulation.tenant_id,
        integration_id=simulation.integration_id,
        since=simulation.since,
        until=simulation.until,
        names=bool(scoped_limits_of(simulation.proposal)),
    )


def _reported(simulation: CusSimulation, evidence: Evidence) -> dict[str, Any]:
    report = Report(scoped_limits_of(simulation.proposal))
    replay = _replay_of(simulation, evidence)
    outcomes = replay.outcomes(evidence.events())
    for outcome in _in_steps(outcomes, _signs_of_life(simulation)):
        report.add(outcome)
    return {
        "status": CusSimulation.Status.DONE,
        "result": report.as_json(not_judged=evidence.not_judged(), given_up=replay.given_up),
        "rows_done": simulation.rows,
    }


def _in_steps(outcomes: Iterator[Outcome], sign: Callable[[int], None]) -> Iterator[Outcome]:
    for number, outcome in enumerate(outcomes, start=1):
        yield outcome
        if not number % _CALLS_A_PAUSE:
            time.sleep(_PAUSE_SECONDS)
        if not number % _ROWS_A_SIGN:
            sign(number)


def _signs_of_life(simulation: CusSimulation) -> Callable[[int], None]:
    rows = CusSimulation.objects.filter(id=simulation.id)

    def sign(number: int) -> None:
        rows.update(rows_done=number, updated_at=database_now())

    return sign


def _failed(why: str) -> dict[str, Any]:
    return {"status": CusSimulation.Status.FAILED, "error": why}


def _end(rows: QuerySet[CusSimulation], ending: Mapping[str, Any], now: datetime) -> None:
    is_open = [CusSimulation.Status.WAITING, CusSimulation.Status.RUNNING]
    rows.filter(status__in=is_open).update(**ending, updated_at=now, finished_at=now)


def _end_the_dead(rows: QuerySet[CusSimulation], now: datetime) -> None:
    """End simulations whose job died, or which no worker took."""
    ending = _failed("No worker finished it: it may have been restarted. Ask again.")
    _end(rows.filter(updated_at__lt=now - _LIFE), ending, now)
