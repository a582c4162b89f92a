"""Providers that hang, drip or never end occupy only their own tenant's places."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connections
from pytest_django import Settings

from integrations import tasks
from integrations.cus_accounts.models import CusTenant
from integrations.cus_health.service import CusHealthService
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import make_integration, make_tenant
from tests.cus_raw_server import RawServer, drip, flood, says

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]
# As many threads as two tenants that hang can't fill.
_THREADS = 5
_PATIENCE = 60


def _task(integration: CusIntegration) -> None:
    try:
        tasks.cus_check_health(str(integration.id))
    finally:
        connections.close_all()


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(_THREADS) as pool:
        yield pool


def _give_checks(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = CusHealthService.check.__kwdefaults__ or {}
    monkeypatch.setitem(defaults, "seconds", seconds)
    monkeypatch.setattr("integrations.cus_health.service.SECONDS", seconds)


class World:
    """Servers and the integrations that point at them."""

    def __init__(self, stack: ExitStack, settings: Settings) -> None:
        self.stack = stack
        self.settings = settings
        self.release = threading.Event()

    def server(self, behave: Any) -> RawServer:
        server = self.stack.enter_context(RawServer(behave))
        self.settings.CUS_ALLOWED_PRIVATE_HOSTS = [
            *self.settings.CUS_ALLOWED_PRIVATE_HOSTS,
            f"127.0.0.1:{server.port}",
        ]
        return server

    def hanging(self) -> RawServer:
        """Holds every connection open, silently, until the test lets go."""
        return self.server(lambda _client, _head: self.release.wait(_PATIENCE))

    def integration(self, tenant: CusTenant, server: RawServer) -> CusIntegration:
        return make_integration(tenant, provider_type="custom", config={"base_url": server.url})


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    settings.CUS_ALLOW_HTTP_PROVIDERS = True
    settings.CUS_HEALTH_SLOW_MS = 100_000
    # Longer than any wait of these tests: who comes first is not a matter of this machine's load.
    _give_checks(2.0 * _PATIENCE, monkeypatch)
    with ExitStack() as stack:
        built = World(stack, settings)
        stack.callback(built.release.set)
        yield built


def _wait_for(server: RawServer, connections: int) -> None:
    waiting = threading.Event()
    for _ in range(_PATIENCE * 20):
        if server.connections >= connections:
            return
        waiting.wait(0.05)
    raise AssertionError(server.connections)


def test_hanging_providers_of_one_tenant_do_not_delay_anothers_checks(
    world: World, workers: ThreadPoolExecutor
) -> None:
    crowd, other = make_tenant(), make_tenant()
    hanging, good = world.hanging(), world.server(says(200, {"data": []}))
    many = [world.integration(crowd, hanging) for _ in range(12)]
    few = [world.integration(other, good) for _ in range(2)]

    hung = [workers.submit(_task, integration) for integration in many]
    _wait_for(hanging, 2)
    served: list[Future[None]] = [workers.submit(_task, integration) for integration in few]

    done, _ = wait(served, _PATIENCE)
    assert len(done) == 2
    for integration in few:
        integration.refresh_from_db()
        assert integration.health_state == "healthy"
    # Two of the crowd hang; the other ten gave up without waiting for their turn.
    assert len(list(itertools.islice(as_completed(hung, _PATIENCE), 10))) == 10
    assert [future.done() for future in hung].count(False) == 2
    assert hanging.connections == 2
    world.release.set()
    for future in (*hung, *served):
        future.result(_PATIENCE)


def test_a_slow_check_is_not_started_twice(world: World, workers: ThreadPoolExecutor) -> None:
    hanging = world.hanging()
    integration = world.integration(make_tenant(), hanging)

    first = workers.submit(_task, integration)
    _wait_for(hanging, 1)
    for again in [workers.submit(_task, integration) for _ in range(8)]:
        again.result(_PATIENCE)

    assert not first.done()
    world.release.set()
    first.result(_PATIENCE)
    assert hanging.connections == 1


@pytest.mark.parametrize(
    "behave",
    [
        pytest.param(
            flood(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"), id="gigabyte"
        ),
        pytest.param(flood(b"HTTP/1.1 200 OK\r\n\r\n"), id="endless"),
    ],
)
def test_an_answer_without_end_ends_the_check_and_not_the_worker(
    world: World, workers: ThreadPoolExecutor, behave: Any
) -> None:
    integration = world.integration(make_tenant(), world.server(behave))

    workers.submit(_task, integration).result(_PATIENCE)

    integration.refresh_from_db()
    assert integration.health_state == "degraded"
    assert "not its own" in (integration.health_message or "")


def test_a_dripping_provider_is_given_up_at_the_deadline(
    world: World, workers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    _give_checks(1.0, monkeypatch)
    dripping = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x")
    integration = world.integration(make_tenant(), world.server(dripping))

    workers.submit(_task, integration).result(_PATIENCE)

    integration.refresh_from_db()
    assert integration.health_message == "The provider did not answer in time."
