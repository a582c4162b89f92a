"""Run a simulation at once, or by a job if it is large or not the tenant's only one."""

from typing import Final

import structlog
from kombu.exceptions import OperationalError

from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.proposals import scoped_limits_of
from enforcement.cus_what_if.service import fail_simulation, run_alone
from enforcement.tasks import cus_simulate

logger = structlog.get_logger(__name__)


# More rows than this are replayed by a job: a million take half a minute.
ROWS_AT_ONCE: Final = 1_000_000
# A page shows a job's progress, so nobody waits in front of an empty one.
ROWS_OF_A_PAGE: Final = 50_000
# So many limits at scopes, where all of them count a call, take as long as another row does.
_LIMITS_A_ROW: Final = 3


def start_simulation(simulation: CusSimulation, *, at_once: int) -> CusSimulation:
    """Start a waiting simulation: the result of a small one, or the one that a job will run.

    `at_once`: of so many rows without limits at scopes; with many limits of fewer. A job also runs what
    is asked for while another simulation of the tenant runs.
    """
    limits = len(scoped_limits_of(simulation.proposal))
    is_small = simulation.rows * (1 + limits // _LIMITS_A_ROW) <= at_once
    if is_small and (done := run_alone(simulation)):
        return done
    try:
        cus_simulate.delay(str(simulation.id))
    except OperationalError:
        logger.exception("a simulation could not be queued", simulation=str(simulation.id))
        fail_simulation(simulation, "The queue of jobs can't be reached. Ask again in a while.")
    return simulation
