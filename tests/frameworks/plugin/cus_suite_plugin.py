"""A pytest plugin for the providers' own test suites: notes each test's outcome, and governs the run.

It is loaded by name, and must import nothing of the repository's `tests`: a provider's suite is a package of
that name too.
"""

import json
import os
from pathlib import Path

import pytest

_OUTCOMES: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Install the middleware, in each worker too, as a program's first lines do."""
    if os.environ.get("CUS_SUITE_IS_GOVERNED") != "1":
        return
    from aos_sdk import cus_configure, cus_install_middleware

    cus_configure()
    cus_install_middleware()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the first outcome of a test that is not "passed"."""
    before = _OUTCOMES.get(report.nodeid, "passed")
    if before != "passed":
        return
    is_error = report.failed and report.when != "call"
    _OUTCOMES[report.nodeid] = "error" if is_error else report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the outcomes; with xdist, its controller hears those of all workers."""
    if not hasattr(session.config, "workerinput"):
        Path(os.environ["CUS_SUITE_OUTCOMES"]).write_text(json.dumps(_OUTCOMES), encoding="utf-8")
