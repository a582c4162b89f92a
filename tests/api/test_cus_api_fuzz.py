"""The API's document describes every answer, to every caller and every request.

schemathesis makes requests from the OpenAPI document: good ones, ones that break it in one place,
and one for each bound that it names. Every other one names rows that are there. In `make test`
they are the same in each run; `make fuzz-api` makes more, of any seed.
"""

import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from pytest_django import DjangoDbBlocker, Settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig
from schemathesis.specs.openapi import checks

from tests.api.cus_access_world import Principal, World, world_of_a_file

pytestmark = pytest.mark.django_db

# Left out: `positive_data_acceptance`, for a document says how a request looks, not that the row
# is there or the name is free; `negative_data_rejection`, for telemetry takes odd records on
# purpose and says so in its answer (ruling E3a); `ignored_auth`, `unsupported_method`,
# `use_after_free`, `ensure_resource_availability`: the access matrix has who gets what, for each.
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
COLUMNS = ("oper", "admin", "memb", "supp", "none", "clsd", "dead", "key", "anon")


class Fuzzer:
    """One principal, who sends what schemathesis thinks of, and takes back what came of it."""

    def __init__(self, world: World, who: Principal) -> None:
        self.world = world
        self.credentials = _credentials(who)
        self.statuses: Counter[int] = Counter()
        self._numbers = itertools.count()

    def send(self, case: "Case[Any]") -> int:
        """Send it, hold the answer against the document, and give its status.

        Raises what schemathesis found.
        """
        if next(self._numbers) % 2:
            self._name_what_is_there(case)
        before = transaction.savepoint()
        try:
            response = case.call_and_validate(checks=CHECKS, **self.credentials)
            self.statuses[response.status_code] += 1
            return response.status_code
        finally:
            transaction.savepoint_rollback(before)

    def tell(self, column: str) -> None:
        """How often each status was answered, for who runs this with -s."""
        counts = f"{sum(self.statuses.values())} {sorted(self.statuses.items())}"
        sys.stdout.write(f"\n{column}: {counts}\n")

    def _name_what_is_there(self, case: "Case[Any]") -> None:
        own = self.world.own
        there: dict[str, Any] = {
            "integration_id": own.integration.id,
            "key_id": own.key.id,
            "stop_id": own.stop.id,
            "session_id": own.run.session_id,
            "target_id": own.target.id,
            "member_id": own.member.id,
        }
        for name in set(there) & set(case.path_parameters or {}):
            case.path_parameters[name] = str(there[name])
        declared = {one.name for one in case.operation.iter_parameters()}
        if "tenant_id" in declared:
            case.query = {**(case.query or {}), "tenant_id": str(own.tenant.id)}


def _credentials(who: Principal) -> dict[str, Any]:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-"): str(value)
        for name, value in who.client.defaults.items()
        if name.startswith("HTTP_")
    }
    cookies = {name: one.value for name, one in who.client.cookies.items()}
    return {"headers": headers, "cookies": cookies}


def _one_of(world: World, column: str) -> Principal:
    """A token where there is one: a session's changes would all fail for want of a CSRF token."""
    ways = [one for one in world.principals if one.column == column]
    return next((one for one in ways if one.way.startswith("token")), ways[0])


@cache
def _operations() -> list[Any]:
    # Credentials are ours to send, not to be made up.
    config = schemathesis.Config.from_dict({"generation": {"with-security-parameters": False}})
    application = get_wsgi_application()
    schema = schemathesis.openapi.from_wsgi("/api/schema?format=json", application, config=config)
    # An error would raise, and that is right.
    return [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]


def _requests(examples: int, number: int) -> "list[Case[Any]]":
    made: list[Case[Any]] = []
    for operation in _operations():
        for mode in MODES:
            made += _requests_of(operation, mode, examples, number)
    return made


def _requests_of(
    operation: Any, mode: GenerationMode, examples: int, number: int
) -> "list[Case[Any]]":
    made: list[Case[Any]] = []

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def make(case: "Case[Any]") -> None:
        made.append(case)

    try:
        make()
    except Unsatisfiable:
        # What takes nothing can't be asked in a wrong way.
        if mode is GenerationMode.POSITIVE:
            raise
    return made


def _copy(case: "Case[Any]") -> "Case[Any]":
    """A caller: puts rows of its own into a request, and adds its credentials."""
    return Case(
        case.operation,
        case.method,
        case.path,
        path_parameters=deepcopy(case.path_parameters),
        headers=case.headers.copy(),
        cookies=deepcopy(case.cookies),
        query=deepcopy(case.query),
        body=deepcopy(case.body),
        media_type=case.media_type,
        multipart_content_types=case.multipart_content_types,
        meta=deepcopy(case.meta),
    )


@pytest.fixture(scope="module")
def requests(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> "list[Case[Any]]":
    """The requests that every principal sends: they take longer to make than to answer."""
    option = request.config.getoption
    with django_db_blocker.unblock():
        return _requests(int(option("--fuzz-examples")), int(option("--fuzz-seed")))


@pytest.fixture(scope="module")
def world(requests: "list[Case[Any]]", django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """Made after the requests: the database ends a transaction that waits for long."""
    with world_of_a_file(django_db_blocker) as world:
        yield world


@pytest.fixture(autouse=True)
def _all_in_one_transaction(settings: Settings) -> Iterator[None]:
    """No request is refused for its number, and none ends the test's transaction."""
    settings.CUS_SDK_REQUESTS_PER_SECOND = 0
    # Django's own test client does the same: a connection in a transaction looks unusable.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("column", COLUMNS)
def test_no_answer_is_one_that_the_document_does_not_describe(
    column: str, requests: "list[Case[Any]]", world: World
) -> None:
    fuzzer = Fuzzer(world, _one_of(world, column))

    for case in requests:
        fuzzer.send(_copy(case))

    fuzzer.tell(column)
    # Or the principal was not who we think, and everything was refused.
    reached = set(fuzzer.statuses) & {200, 201, 204}
    assert bool(reached) == (column in ("oper", "admin", "memb", "supp", "key"))
    assert (403 in fuzzer.statuses) >= (column in ("memb", "supp", "none", "clsd"))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("column", ["admin", "key"])
def test_every_bound_of_the_document_is_answered_as_it_says(column: str, world: World) -> None:
    fuzzer = Fuzzer(world, _one_of(world, column))
    generation = GenerationConfig(modes=MODES, with_security_parameters=False)

    for operation in _operations():
        cases = operation.schema.iter_coverage_cases(
            operation, generation_modes=MODES, generation_config=generation
        )
        # Requests without a principal have no bound.
        all(fuzzer.send(case) != 401 for case in cases)

    fuzzer.tell(column)
    assert fuzzer.statuses[400] > 0
