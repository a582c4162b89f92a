"""A pytest plugin: every run has a PostgreSQL and a Valkey of its own, and nobody else's.

It sets the environment before pytest-django reads the settings, so that no test can reach a
database that somebody configured. xdist's workers inherit the controller's environment.
"""

import os
from collections.abc import Generator
from contextlib import ExitStack

import pytest

from aos_project.cus_embedded import ServiceError, throw_away_services


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        early_config.add_cleanup(_start_services().close)
    yield


def _start_services() -> ExitStack:
    stack = ExitStack()
    try:
        os.environ.update(stack.enter_context(throw_away_services()))
    except ServiceError as error:
        raise pytest.UsageError(str(error)) from error
    return stack
