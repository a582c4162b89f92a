"""What-if over HTTP: what is asked, what is answered, and what a job does."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from celery.exceptions import Retry
from django.db import connections
from django.test import Client
from kombu.exceptions import OperationalError
from pytest_django import Settings

from enforcement.cus_what_if import service, start
from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.serializers import SimulatedLimit, SimulationReport
from enforcement.cus_what_if.service import CusWhatIfService
from enforcement.tasks import cus_simulate
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from tests.cus_factories import ENFORCEMENT, SdkClient, browser_of, make_integration, record
from tests.cus_limits import make_limit

pytestmark = pytest.mark.django_db(transaction=True)

URL = f"{ENFORCEMENT}/simulate"


@pytest.fixture
def admin(integration: CusIntegration) -> Client:
    return browser_of("admin", integration.tenant)


def ask(client: Client, integration: CusIntegration, **fields: Any) -> Any:
    body = {"integration_id": str(integration.id)} | fields
    return client.post(URL, body, content_type="application/json")


def found(client: Client, answer: Any) -> dict[str, Any]:
    """The simulation where the answer says that it is."""
    read = client.get(answer["Location"])
    assert read.status_code == 200
    return dict(read.json())


def test_the_report_tells_calls_money_reasons_days_and_the_first_calls(
    admin: Client, integration: CusIntegration, sdk: SdkClient
) -> None:
    for name in "abcde":
        sdk.report(record(call_id=name, cost_cents=10))

    answer = ask(admin, integration, days=7, budget_limit_cents=30)

    assert answer.status_code == 200
    told = answer.json()
    assert (told["status"], told["progress_percent"], told["rows"], told["days"]) == (
        "done", 100, 5, 7,
    )  # fmt: skip
    assert told["proposal"] == {
        "budget_limit_cents": 30, "token_limit_month": 0,
        "rate_limit_rpm": 0, "rate_limit_tpm": 0, "rate_limit_rpd": 0,
        "budget_basis": "rounded", "enforcement_level": "block", "allow_unpriced": False,
        "scoped_limits": [],
    }  # fmt: skip
    report = told["report"]
    assert report.keys() == SimulationReport().fields.keys()
    calls = {result: sums["calls"] for result, sums in report["would_be"].items()}
    assert calls == {"allowed": 3, "warned": 0, "throttled": 0, "blocked": 2}
    assert report["were"] == {"allowed": 5, "warned": 0, "throttled": 0, "blocked": 0}
    assert report["not_spent"] == {"counted_cents": 20, "cost_microcents": 1_500_000}
    assert report["reasons"] == [{"code": "budget_exceeded", "limit_type": "budget", "calls": 2}]
    (limit,) = report["limits"]
    assert limit.keys() == SimulatedLimit().fields.keys()
    assert (limit["limit"], limit["amount"], limit["window"]) == ("budget_limit_cents", 30, "month")
    assert (limit["blocked"]["calls"], limit["blocked"]["counted_cents"]) == (2, 20)
    assert report["notes"] == []
    (day,) = report["days"]
    assert day["blocked"]["counted_cents"] == 20
    assert [one["model"] for one in report["refused_models"]] == ["gpt-4o"]
    assert [(one["call_id"], one["would_be"]) for one in report["listed"]] == [
        ("d", "blocked"), ("e", "blocked"),
    ]  # fmt: skip
    assert report["listed"][0]["message"].startswith("The monthly budget of $0.30 has no room")
    assert report["without_estimate"] == 5
    assert found(admin, answer) == told
    integration.refresh_from_db()
    assert integration.budget_limit_cents == 0


AGENT_DAY = {"scope": "agent_id", "unit": "cents", "window": "day", "amount": 15}


def test_limits_at_scopes_are_tried_in_place_of_those_that_hold(
    admin: Client, integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "agent_id", "writer", amount=5)
    for agent in ("writer", "reader", "reader"):
        sdk.report(record(cost_cents=10, agent_id=agent))
    shown = AGENT_DAY | {"tag": "", "basis": "rounded", "result": "blocked", "warning_percent": 80}

    now = ask(admin, integration).json()
    tried = ask(admin, integration, scoped_limits=[AGENT_DAY, AGENT_DAY | {"value": "x"}]).json()

    (one,) = now["proposal"]["scoped_limits"]
    assert (one["limit_id"], one["value"], one["amount"]) == (str(limit.id), "writer", 5)
    assert now["report"]["would_be"]["blocked"]["calls"] == 1
    assert tried["proposal"]["scoped_limits"] == [
        shown | {"limit_id": None, "value": None}, shown | {"limit_id": None, "value": "x"},
    ]  # fmt: skip
    (decided,) = tried["report"]["limits"]
    assert decided["limit_id"] is None
    assert [one["value"] for one in decided["refused_values"]] == ["reader"]
    assert CusScopedLimit.objects.get() == limit


def test_a_simulation_of_an_earlier_release_is_read_without_limits_at_scopes(
    admin: Client, integration: CusIntegration
) -> None:
    answer = ask(admin, integration)
    simulation = CusSimulation.objects.get()
    del simulation.proposal["scoped_limits"]
    simulation.save()

    assert found(admin, answer)["proposal"]["scoped_limits"] == []


@pytest.mark.parametrize(
    ("scoped", "attr"),
    [
        ([AGENT_DAY | {"amount": 0}], "scoped_limits.0.amount"),
        ([AGENT_DAY, {"scope": "agent_id"}], "scoped_limits.1.unit"),
        ([AGENT_DAY | {"enabled": True}], "scoped_limits.0.enabled"),
        ([AGENT_DAY | {"window": "life"}], "scoped_limits"),
        ([AGENT_DAY | {"scope": "tag"}], "scoped_limits"),
        ([AGENT_DAY, AGENT_DAY | {"amount": 7}], "scoped_limits"),
        ([AGENT_DAY] * 401, "scoped_limits"),
        ("all", "scoped_limits"),
    ],
)
def test_a_limit_at_a_scope_that_cannot_be_made_is_refused_by_field(
    admin: Client, integration: CusIntegration, scoped: Any, attr: str
) -> None:
    answer = ask(admin, integration, scoped_limits=scoped)

    assert answer.status_code == 400, answer.content
    assert attr in answer.json()["errors"][0]["attr"]
    assert not CusSimulation.objects.exists()


@pytest.mark.parametrize(
    ("fields", "attr"),
    [
        ({"days": 0}, "days"),
        ({"days": 91}, "days"),
        ({"days": "7"}, "days"),
        ({"budget_limit_cents": -1}, "budget_limit_cents"),
        ({"rate_limit_rpm": 2**31}, "rate_limit_rpm"),
        ({"enforcement_level": "hard"}, "enforcement_level"),
        ({"estimate_basis": "learned"}, "estimate_basis"),
        ({"integration_id": "nothing"}, "integration_id"),
    ],
)
def test_what_cannot_be_proposed_is_refused_by_field(
    admin: Client, integration: CusIntegration, fields: dict[str, Any], attr: str
) -> None:
    answer = ask(admin, integration, **fields)

    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, attr)
    assert not CusSimulation.objects.exists()


def test_above_a_million_rows_a_job_replays_and_tells_its_progress(
    admin: Client, integration: CusIntegration, sdk: SdkClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk.report_calls(3)
    queued: list[str] = []
    monkeypatch.setattr(start, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(cus_simulate, "delay", queued.append)

    answer = ask(admin, integration, rate_limit_rpm=2)

    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["report"]) == ("waiting", None)
    assert ask(admin, integration).json()["errors"][0]["code"] == "simulation_running"
    CusSimulation.objects.update(status="running", rows_done=2)
    assert found(admin, answer)["progress_percent"] == 66
    CusSimulation.objects.update(status="waiting")
    cus_simulate(*queued)
    assert found(admin, answer)["report"]["would_be"]["throttled"]["calls"] == 1
    assert ask(admin, integration).status_code == 202


def test_many_limits_at_scopes_make_a_simulation_large(
    admin: Client, integration: CusIntegration, sdk: SdkClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk.report_calls(3)
    monkeypatch.setattr(start, "ROWS_AT_ONCE", 5)
    monkeypatch.setattr(cus_simulate, "delay", lambda _id: None)
    limits = [
        {"scope": "agent_id", "value": f"agent-{n}", "unit": "calls", "window": "day", "amount": 5}
        for n in range(3)
    ]

    assert ask(admin, integration, scoped_limits=limits[:2]).status_code == 200
    assert ask(admin, integration, scoped_limits=limits).status_code == 202


def test_beside_another_simulation_of_the_tenant_a_job_replays_so_that_one_thread_is_busy(
    admin: Client, integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued: list[str] = []
    monkeypatch.setattr(cus_simulate, "delay", queued.append)
    beside = make_integration(integration.tenant)
    ours = CusWhatIfService(integration.tenant).ask(beside, days=1, proposed={})
    CusSimulation.objects.filter(id=ours.id).update(status="running")
    strangers = make_integration()

    assert ask(browser_of("admin", strangers.tenant), strangers).status_code == 200
    answer = ask(admin, integration)
    assert answer.status_code == 202
    assert found(admin, answer)["status"] == "waiting"
    CusSimulation.objects.filter(id=ours.id).update(status="done")
    cus_simulate(*queued)
    assert found(admin, answer)["status"] == "done"
    assert ask(admin, integration).status_code == 200


def test_of_two_simulations_of_a_tenant_that_are_asked_for_at_once_one_is_replayed_by_a_job(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Barrier(2), threading.Event()
    replayed = service._run

    def slowly(simulation_id: uuid.UUID) -> CusSimulation:
        assert go_on.wait(30)
        return replayed(simulation_id)

    monkeypatch.setattr(service, "_run", slowly)
    asked = [
        CusWhatIfService(integration.tenant).ask(one, days=1, proposed={})
        for one in (integration, make_integration(integration.tenant))
    ]

    def run(simulation: CusSimulation) -> CusSimulation | None:
        started.wait(30)
        try:
            return service.run_alone(simulation)
        finally:
            go_on.set()
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(run, asked))

    assert sorted(one is None for one in done) == [False, True]


def test_one_job_runs_at_a_time_and_the_next_waits_for_its_turn(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = CusWhatIfService(integration.tenant).ask(integration, days=1, proposed={})
    CusSimulation.objects.filter(id=ours.id).update(created_at=ours.created_at)
    other = CusSimulation.objects.get(id=ours.id)
    other.id, other.integration_id, other.status = uuid.uuid4(), uuid.uuid4(), "running"
    other.save(force_insert=True)

    with pytest.raises(Retry):
        cus_simulate.apply(args=(str(ours.id),), throw=True)
    CusSimulation.objects.filter(id=other.id).update(status="done")
    cus_simulate(str(ours.id))

    ours.refresh_from_db()
    assert ours.status == "done"


def test_a_job_that_shows_no_sign_of_life_has_failed_and_another_may_be_asked_for(
    admin: Client, integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "ROWS_AT_ONCE", -1)
    monkeypatch.setattr(cus_simulate, "delay", lambda _id: None)
    answer = ask(admin, integration)
    stale = CusSimulation.objects.get().updated_at - timedelta(minutes=11)
    CusSimulation.objects.update(status="running", updated_at=stale)

    assert ask(admin, integration).status_code == 202

    read = found(admin, answer)
    assert (read["status"], read["error"][:19]) == ("failed", "No worker finished ")


def test_without_a_queue_a_large_simulation_fails_in_words(
    admin: Client, integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_id: str) -> None:
        raise OperationalError

    monkeypatch.setattr(start, "ROWS_AT_ONCE", -1)
    monkeypatch.setattr(cus_simulate, "delay", refuse)

    answer = ask(admin, integration)

    assert answer.status_code == 200
    assert answer.json()["error"].startswith("The queue of jobs can't be reached.")


def test_old_simulations_are_forgotten_and_a_day_has_a_quota(
    admin: Client, integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_QUOTA_SIMULATIONS_A_DAY = 2
    first = ask(admin, integration)
    ask(admin, integration)
    assert ask(admin, integration).json()["errors"][0]["code"] == "quota_exceeded"
    old = CusSimulation.objects.order_by("created_at")[0]
    CusSimulation.objects.filter(id=old.id).update(created_at=old.created_at - timedelta(days=31))

    assert ask(admin, integration).status_code == 200
    assert admin.get(first["Location"]).status_code == 404
