"""Run a simulation at once, or by a job if it is large."""

import structlog
from kombu.exceptions import OperationalError

from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.service import ROWS_AT_ONCE, fail_simulation, run_simulation
from enforcement.tasks import cus_simulate

logger = structlog.get_logger(__name__)


def start_simulation(simulation: CusSimulation) -> CusSimulation:
    """Start a waiting simulation: the result of a small one, or the one that a job will run."""
    if simulation.rows <= ROWS_AT_ONCE:
        return run_simulation(simulation.id) or simulation
    try:
        cus_simulate.delay(str(simulation.id))
    except OperationalError:
        logger.exception("a simulation could not be queued", simulation=str(simulation.id))
        fail_simulation(simulation, "The queue of jobs can't be reached. Ask again in a while.")
    return simulation
