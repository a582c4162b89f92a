"""Which checks beat starts, where they run, and what the command line says of them."""

import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings
from redis import Redis

from aos_project.celery import app
from aos_project.cus_runner import _workers
from enforcement.tasks import cus_sweep_holds
from integrations import tasks
from integrations.cus_accounts.models import CusTenant
from integrations.cus_health.schedule import (
    MOST_OF_A_TENANT,
    ROUND_SECONDS,
    checkable,
    due_checks,
)
from integrations.cus_health.turns import turn
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import make_integration, make_many, make_tenant
from tests.cus_raw_server import Behaviour, RawServer, says

pytestmark = pytest.mark.django_db
NOW = timezone.now()
LONG_AGO = NOW - timedelta(hours=1)


# --- What is due --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ({}, True),
        ({"health_checked_at": LONG_AGO}, True),
        ({"health_checked_at": NOW - timedelta(seconds=299)}, False),
        ({"status": "created"}, True),
        ({"status": "error"}, True),
        ({"status": "disabled"}, False),
        ({"deleted_at": NOW}, False),
    ],
)
def test_what_serves_or_could_is_checked_every_five_minutes(
    integration: CusIntegration, fields: dict[str, Any], due: bool
) -> None:
    CusIntegration.objects.update(**fields)

    assert [check.integration_id for check in due_checks(NOW)] == [integration.id] * due


def test_a_closed_tenant_is_left_alone(integration: CusIntegration) -> None:
    CusTenant.objects.update(closed_at=NOW)
    assert due_checks(NOW) == []


def test_an_interval_of_nothing_switches_it_off(
    integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_HEALTH_CHECK_SECONDS = 0
    assert due_checks(NOW) == []


def test_five_hundred_of_one_tenant_do_not_come_before_the_one_of_another(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    crowd, lone = make_tenant(), make_tenant()
    make_many(crowd, 500)
    single = make_integration(lone)

    with django_assert_num_queries(1):
        due = due_checks(NOW)

    assert single.id in [check.integration_id for check in due[:2]]
    assert len(due) == MOST_OF_A_TENANT + 1
    # Spread over the round, none at once with another.
    delays = [check.delay_seconds for check in due if check.integration_id != single.id]
    assert delays == sorted(delays)
    assert 0 <= delays[0] < delays[-1] < ROUND_SECONDS
    share = ROUND_SECONDS / MOST_OF_A_TENANT
    assert {int(delay / share) for delay in delays} == set(range(MOST_OF_A_TENANT))


def test_the_stalest_of_a_tenant_come_first(tenant: CusTenant) -> None:
    ages = [7, 5, 9, 6, 8]
    for age in ages:
        row = make_integration(tenant)
        checked_at = NOW - timedelta(hours=age)
        CusIntegration.objects.filter(id=row.id).update(health_checked_at=checked_at)
    never = make_integration(tenant)

    due = [check.integration_id for check in due_checks(NOW)]

    assert due[0] == never.id
    rows = CusIntegration.objects.in_bulk(due[1:])
    times = [rows[pk].health_checked_at for pk in due[1:]]
    assert times == sorted(filter(None, times))


# --- Tasks --------------------------------------------------------------------------------------


def test_one_task_an_integration_is_started_and_knows_its_id_alone(
    tenant: CusTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {str(make_integration(tenant).id) for _ in range(3)}
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(tasks.cus_check_health, "apply_async", lambda **how: started.append(how))

    tasks.cus_fan_out_health_checks()

    assert {how["args"] for how in started} == {(pk,) for pk in wanted}
    for how in started:
        assert 0 <= how["countdown"] < ROUND_SECONDS
        # Not before its time, and not together with the next round's.
        assert how["countdown"] < how["expires"] <= 2 * ROUND_SECONDS


def test_while_no_worker_takes_checks_no_more_are_started(
    tenant: CusTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        make_integration(tenant)
    monkeypatch.setattr(tasks, "_MOST_WAITING", 5)
    with Redis.from_url(configured.REDIS_URL) as broker:
        broker.delete("cus_health")
        counts = []
        for _ in range(4):
            tasks.cus_fan_out_health_checks()
            counts.append(broker.llen("cus_health"))
        broker.delete("cus_health")

    assert counts == [3, 6, 6, 6]


def test_beat_asks_as_often_as_a_round_lasts() -> None:
    entry = configured.CELERY_BEAT_SCHEDULE["cus-health-checks"]
    assert entry["schedule"] == ROUND_SECONDS
    assert entry["task"] == tasks.cus_fan_out_health_checks.name


@pytest.mark.parametrize(
    ("task", "own", "worker"),
    [
        (tasks.cus_check_health, "cus_health", "checks"),
        (cus_sweep_holds, "cus_holds", "sweeper"),
    ],
)
def test_what_may_not_wait_has_a_queue_that_a_worker_of_its_own_consumes(
    task: Any, own: str, worker: str
) -> None:
    queue = app.amqp.router.route({}, task.name)["queue"].name
    others = app.amqp.router.route({}, "telemetry.tasks.cus_rollup_usage")["queue"].name
    consumers = {
        program.name: " ".join(program.command)
        for program in _workers({})
        if " worker " in " ".join(program.command)
    }

    assert queue == own != others
    assert f"--queues {own} " in consumers[worker]
    # Without --queues a worker consumes the default one.
    assert "--queues" not in consumers["worker"]


class Served:
    """Integrations whose provider is one local server."""

    def __init__(self, server: RawServer) -> None:
        self.server = server
        self.answers: Iterator[Behaviour] = itertools.repeat(says(200, {"data": []}))

    def integration(self, tenant: CusTenant, name: str | None = None) -> CusIntegration:
        fields: dict[str, Any] = {"name": name} if name else {}
        return make_integration(
            tenant, provider_type="custom", config={"base_url": self.server.url}, **fields
        )


@pytest.fixture
def served(settings: Settings) -> Iterator[Served]:
    holder: list[Served] = []
    with RawServer(lambda client, head: next(holder[0].answers)(client, head)) as server:
        settings.CUS_ALLOW_HTTP_PROVIDERS = True
        settings.CUS_ALLOWED_PRIVATE_HOSTS = [f"127.0.0.1:{server.port}"]
        settings.CUS_HEALTH_SLOW_MS = 60_000
        holder.append(Served(server))
        yield holder[0]


def test_a_task_checks_once_and_not_again_before_it_is_due(
    tenant: CusTenant, served: Served
) -> None:
    integration = served.integration(tenant)

    for _ in range(3):
        tasks.cus_check_health(str(integration.id))

    integration.refresh_from_db()
    assert integration.health_state == "healthy"
    assert served.server.connections == 1


@pytest.mark.parametrize("end", ["disable", "delete"])
def test_a_task_that_comes_too_late_asks_nobody(
    end: str, tenant: CusTenant, served: Served
) -> None:
    integration = served.integration(tenant)
    getattr(CusIntegrationService(tenant), end)(integration)

    tasks.cus_check_health(str(integration.id))
    tasks.cus_check_health(str(uuid.uuid4()))

    assert served.server.connections == 0


def test_a_task_without_a_turn_leaves_the_check_to_the_next_round(
    tenant: CusTenant, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    integration = served.integration(tenant)
    monkeypatch.setattr("integrations.cus_health.turns.PLACES_OF_A_TENANT", 0)

    tasks.cus_check_health(str(integration.id))

    assert served.server.connections == 0
    assert [check.integration_id for check in due_checks(timezone.now())] == [integration.id]
    monkeypatch.undo()
    with turn(tenant.id, integration.id):
        pass


# --- The command --------------------------------------------------------------------------------


def _run(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("cus_health_check", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_the_command_checks_one_a_tenants_or_all(tenant: CusTenant, served: Served) -> None:
    mine = served.integration(tenant, "Mine")
    served.integration(tenant, "Other")
    served.integration(make_tenant("Somebody else"), "Foreign")

    assert _run("--integration", str(mine.id))[1].count("\n") == 1
    assert _run("--tenant", tenant.name)[1].count("\n") == 2
    assert _run("--tenant", str(tenant.id))[1].count("\n") == 2
    code, output = _run("--all")
    assert code == 0
    assert output.splitlines()[0].startswith("healthy   Somebody else / Foreign: The provider")
    assert output.count("\n") == checkable().count() == 3


def test_the_command_checks_what_is_stale_alone(tenant: CusTenant, served: Served) -> None:
    fresh, stale = served.integration(tenant, "Fresh"), served.integration(tenant, "Stale")
    CusIntegration.objects.filter(id=fresh.id).update(health_checked_at=timezone.now())

    _, output = _run("--stale", "--json")

    assert json.loads(output)["integration_id"] == str(stale.id)


def test_the_command_says_by_its_exit_code_if_any_is_failing(
    tenant: CusTenant, served: Served
) -> None:
    served.integration(tenant, "Down")
    served.answers = itertools.repeat(says(503))

    assert _run("--all")[0] == 0
    assert _run("--all", "--summary") == (0, "1 degraded\n")
    assert _run("--all", "--summary") == (1, "1 failing\n")
    code, output = _run("--all", "--summary", "--json")
    assert code == 1
    assert Counter(json.loads(output)) == Counter(failing=1)


def test_the_command_says_in_json_what_it_found(tenant: CusTenant, served: Served) -> None:
    integration = served.integration(tenant, "Refused")
    served.answers = itertools.repeat(says(404, {"error": {"message": "No such path"}}))

    codes = [_run("--integration", str(integration.id), "--json")[0] for _ in range(2)]
    code, output = _run("--integration", str(integration.id), "--json")

    assert [*codes, code] == [0, 0, 1]
    found = json.loads(output)
    assert (found["verdict"], found["status"]) == ("config_refused", "error")
    assert (found["tenant"], found["name"], found["stored"]) == (tenant.name, "Refused", True)


def test_the_command_names_what_it_can_not_find() -> None:
    for arguments in (["--tenant", "Nobody"], ["--integration", str(uuid.uuid4())]):
        with pytest.raises(CommandError, match="no such integration or tenant") as refusal:
            call_command("cus_health_check", *arguments)
        assert refusal.value.returncode == 2
