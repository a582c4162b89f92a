"""A pytest plugin: every run has a PostgreSQL and a Valkey of its own, and uses no others.

It sets the environment before pytest-django reads the settings, so that no test can reach a
database that somebody configured. xdist's workers inherit the controller's environment.

The plugin also has the files begin first that take longest, and starts more workers than there are
processors.
"""

import gc
import os
import sys
from collections.abc import Generator
from contextlib import ExitStack

import hypothesis
import pytest

from aos_project.cus_embedded import ServiceError, throw_away_services
from aos_project.cus_embedded.postgres import MAX_CONNECTIONS

# Of a process that races for limits: for checks, the heartbeat and reports.
_CONNECTIONS_OF_A_RACER = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option that the servers depend on. They start before `conftest.py` is read."""
    parser.addoption(
        "--limit-processes", type=int, default=8, help="processes that race for limits"
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    # A run starts hundreds of Python processes on the same modules: each is compiled once.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if "PYTEST_XDIST_WORKER" not in os.environ:
        racers = early_config.known_args_namespace.limit_processes
        services = _start_services(connections=_CONNECTIONS_OF_A_RACER * racers)
        early_config.add_cleanup(services.close)
    yield


def _start_services(*, connections: int) -> ExitStack:
    """`connections` are those that tests need beside the product's usual number."""
    stack = ExitStack()
    try:
        servers = throw_away_services(connections=MAX_CONNECTIONS + connections)
        os.environ.update(stack.enter_context(servers))
    except ServiceError as error:
        raise pytest.UsageError(str(error)) from error
    return stack


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """One worker more than processors: many tests wait for a server, a deadline or a disk."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while test modules are loaded: there is none."""
    gc.disable()
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Spare the garbage collector the modules and tests, which stay until the end of the run.

    It looks more seldom than it does by itself: a page makes thousands of objects that soon go.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 100)
    gc.enable()


# So many more objects than there were, and the garbage collector looks at the new ones.
_NEW_OBJECTS = 20_000

# No test depends on how fast a machine is; by default an example may take 200 ms.
hypothesis.settings.register_profile("without_deadline", deadline=None)
hypothesis.settings.load_profile("without_deadline")

# Each takes more than a hundredth of a run. Begun last, one of these would keep a single processor
# busy while the others have nothing left to do. The second and third need no database: the others
# wait until the first has it migrated.
_LONGEST = (
    "tests/api/test_cus_access_matrix.py",
    "tests/sdk/test_cus_delivery.py",
    "tests/runner/test_cus_runner.py",
    "tests/trust/test_cus_abuse.py",
    "tests/api/test_cus_api_fuzz.py",
    "tests/admin/test_cus_crawl.py",
    "tests/admin/test_cus_console_scope.py",
    "tests/benchmarks/test_cus_benchmarks.py",
    "tests/benchmarks/test_cus_sdk_bench.py",
    "tests/trust/test_cus_sdk_leases.py",
    "tests/services/test_cus_retention.py",
    "tests/trust/test_cus_ingest.py",
    "tests/runner/test_cus_embedded.py",
    "tests/e2e/test_cus_run_budgets.py",
    "tests/observability/test_cus_rules.py",
    "tests/frameworks/test_cus_frameworks.py",
    "tests/trust/test_cus_enforcement.py",
    "tests/sdk/test_cus_cost_to_host.py",
    "tests/services/test_cus_signals.py",
    "tests/trust/test_cus_limits_race.py",
    "tests/e2e/test_cus_strangers.py",
    "tests/e2e/test_cus_versions.py",
    "tests/trust/test_cus_counters.py",
    "tests/trust/test_cus_allotment_races.py",
    "tests/trust/test_cus_sdk_real.py",
    "tests/services/test_cus_settings.py",
    "tests/services/test_cus_rollovers.py",
    "tests/services/test_cus_convergence.py",
    "tests/sdk/test_cus_exit.py",
    "tests/enforcement/test_cus_what_if_scopes.py",
    "tests/sdk/test_cus_tls.py",
    "tests/trust/test_cus_sdk_delivery.py",
    "tests/api/test_cus_access_matrix_of_checks.py",
    "tests/trust/test_cus_hostile.py",
    "tests/trust/test_cus_canaries.py",
    "tests/e2e/test_cus_flow.py",
    "tests/upgrade/test_cus_upgrade.py",
    "tests/trust/test_cus_rotation.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin the longest files first. Within a file the order stays."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    file = item.nodeid.partition("::")[0]
    return _LONGEST.index(file) if file in _LONGEST else len(_LONGEST)
