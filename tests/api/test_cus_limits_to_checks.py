"""Limits that people make, change, raise and delete, as the next check has them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from pytest_django import Settings

from integrations.cus_increases.models import CusIncreaseRequest
from integrations.cus_increases.service import CusIncreaseService, RequestDecided, Which
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import CusLimitService
from integrations.cus_web.errors import CusError, QuotaExceeded
from tests.cus_factories import SdkClient, make_integration, make_user, record, signed_in

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime.now(UTC)
PASSED = ("allowed", "all_checks_passed")
UNTIL = "2099-01-01T00:00:00Z"


def _result(sdk: SdkClient, **names: Any) -> tuple[str, str]:
    fields: dict[str, Any] = {"estimated_cost_cents": 10, "agent_id": "crawler"}
    answer = sdk.check(**fields | names).json()
    return answer["result"], answer["reasons"][0]["code"]


def _limit(integration: CusIntegration, **fields: Any) -> CusScopedLimit:
    values: dict[str, Any] = {"scope": "agent_id", "unit": "cents", "window": "day", "amount": 100}
    return CusLimitService(integration).create(now=datetime.now(UTC), **values | fields)


def test_a_limit_binds_the_next_check_knows_the_morning_and_ends_when_it_is_deleted(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    admin = signed_in(make_user("admin", integration.tenant))
    sdk.report(record(agent_id="crawler", cost_cents=95))
    assert _result(sdk) == PASSED
    url = f"/api/v1/cus/integrations/{integration.id}/scoped-limits"
    body = {"scope": "agent_id", "unit": "cents", "window": "day", "amount": 100}
    made = admin.post(url, body, content_type="application/json").json()
    refused = ("blocked", "agent_limit_exceeded")
    assert _result(sdk)[0] == refused[0]
    assert _result(sdk, agent_id="another") == PASSED

    def change(**values: Any) -> None:
        answer = admin.patch(f"{url}/{made['id']}", values, content_type="application/json")
        assert answer.status_code == 200, answer.content

    change(amount=1_000)
    assert _result(sdk) == PASSED
    change(amount=1)
    assert _result(sdk) == refused
    change(enabled=False)
    assert _result(sdk) == PASSED
    change(enabled=True, result="throttled")
    assert _result(sdk)[0] == "throttled"
    assert admin.delete(f"{url}/{made['id']}").status_code == 204
    assert _result(sdk) == PASSED


def test_a_limit_of_the_tenant_binds_at_each_of_its_integrations(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    other = make_integration(integration.tenant)
    _limit(other, scope="tenant", amount=5)
    assert _result(sdk)[0] == "blocked"
    assert _result(SdkClient.of(other))[0] == "blocked"
    assert _result(SdkClient.of(make_integration())) == PASSED


@pytest.mark.parametrize("own", [True, False], ids=["the integration's budget", "an agent's limit"])
def test_a_refused_call_runs_after_an_increase_was_approved(
    integration: CusIntegration, sdk: SdkClient, own: bool
) -> None:
    which: dict[str, Any] = {"integration_id": str(integration.id), "limit": "budget_limit_cents"}
    if own:
        CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=5)
    else:
        which = {"limit_id": str(_limit(integration, amount=5).id), "value": "crawler"}
    assert _result(sdk)[0] == "blocked"

    member = signed_in(make_user("member", integration.tenant))
    admin = signed_in(make_user("admin", integration.tenant))
    url = "/api/v1/cus/increase-requests"
    body = which | {"amount": 900, "valid_until": UNTIL, "reason": "The launch."}
    asked = member.post(url, body, content_type="application/json").json()
    assert _result(sdk)[0] == "blocked"
    assert admin.post(f"{url}/{asked['id']}/approve").status_code == 200
    assert _result(sdk) == PASSED
    if not own:
        assert _result(sdk, agent_id="another")[0] == "blocked"


def _at_once(count: int, do: Any) -> list[Any]:
    """What `do` returned or raised, called by so many threads at the same moment."""
    start = threading.Barrier(count)

    def run(number: int) -> Any:
        try:
            start.wait()
            return do(number)
        except CusError as refusal:
            return refusal
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def test_a_request_that_several_people_approve_at_once_becomes_one_limit(
    integration: CusIntegration,
) -> None:
    admins = [make_user("admin", integration.tenant) for _ in range(4)]
    request = CusIncreaseService(integration.tenant).ask(
        integration,
        Which(limit=_limit(integration)),
        now=NOW,
        amount=900,
        valid_until=NOW + timedelta(days=1),
        reason="The launch.",
    )
    results = _at_once(
        4,
        lambda number: CusIncreaseService(integration.tenant, actor=admins[number]).approve(
            request.id, now=NOW
        ),
    )
    assert [type(one) for one in results].count(RequestDecided) == 3
    assert CusIncreaseRequest.objects.get().made_limit is not None
    assert CusScopedLimit.objects.count() == 2


@pytest.mark.parametrize("scope", ["agent_id", "tenant"])
def test_people_at_once_never_make_more_limits_than_the_quota(
    integration: CusIntegration, settings: Settings, scope: str
) -> None:
    settings.CUS_QUOTA_SCOPED_LIMITS = 2
    value = {} if scope == "tenant" else {"value": "a"}
    results = _at_once(
        6,
        lambda number: _limit(
            integration, scope=scope, **value, valid_until=NOW + timedelta(days=number + 1)
        ),
    )
    assert [type(one) for one in results].count(QuotaExceeded) == 4
    assert CusScopedLimit.objects.count() == 2


def test_what_a_client_reads_of_the_configuration_has_the_limits_of_now(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = _limit(integration, scope="tag", tag="team", value="search")
    _limit(integration, enabled=False)
    client: Client = sdk.client
    (shown,) = client.get("/api/v1/cus/enforcement/config").json()["limits"]
    assert (shown["id"], shown["tag"], shown["value"]) == (str(limit.id), "team", "search")
