"""Used, held and overrun at every step of a call's life, and what explains a decision."""

import io
import threading
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from django.utils import timezone

from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.rounds import Verdict
from enforcement.cus_checks.service import CusEnforcementService
from enforcement.cus_decisions.explain import explain
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_rules.facts import Facts
from enforcement.cus_rules.precedence import decide
from enforcement.tasks import cus_sweep_late_holds
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage, CusPeriodTotals
from telemetry.cus_holds import holds
from telemetry.cus_holds.models import CusEnforcementHold
from telemetry.cus_holds.sweeping import sweep
from tests.conftest import _superuser, as_if
from tests.cus_factories import ENFORCEMENT, SdkClient, make_integration, make_user, record

pytestmark = pytest.mark.django_db(transaction=True)


def _standing(sdk: SdkClient) -> tuple[int, int]:
    """Used and held, in cents."""
    status = sdk.client.get(f"{ENFORCEMENT}/status").json()
    return status["used"]["cents"], status["held"]["cents"]


def _overrun() -> tuple[int, int, int]:
    totals = list(CusPeriodTotals.objects.all())
    names = ("overrun_cents", "overrun_microcents", "overrun_tokens")
    return tuple(sum(getattr(one, name) for one in totals) for name in names)


def _check(integration: CusIntegration, call_id: str, at: datetime | None = None) -> Verdict:
    caller = Caller(integration.tenant_id, integration.id, time.monotonic())
    request = CheckRequest(call_id=call_id, estimated_tokens=1, estimated_cost_cents=5)
    return CusEnforcementService(caller, at=at).check(request)


def test_a_call_that_lands_at_its_estimate_goes_from_held_to_used(
    sdk: SdkClient, limited: CusIntegration
) -> None:
    sdk.check("call", estimated_cost_cents=5, estimated_tokens=1_500)
    assert _standing(sdk) == (0, 5)
    sdk.report(record(call_id="call", cost_cents=5))
    assert _standing(sdk) == (5, 0)
    assert _overrun() == (0, 0, 0)


def test_a_call_at_ten_times_its_estimate_is_counted_whole_and_its_overrun_shown(
    client: Client, sdk: SdkClient, limited: CusIntegration
) -> None:
    integration = limited
    sdk.check(
        "call", estimated_cost_cents=5, estimated_cost_microcents=75_000, estimated_tokens=150
    )
    assert _standing(sdk) == (0, 5)
    assert _overrun() == (0, 0, 0)

    sdk.report(record(call_id="call", cost_cents=50))  # 1,500 tokens, 0.75 cents exactly

    assert _standing(sdk) == (50, 0)
    assert _overrun() == (45, 675_000, 1_350)
    row = CusLLMUsage.objects.get()
    assert (row.estimate_cents, row.estimate_microcents, row.estimate_tokens) == (5, 75_000, 150)
    whose = f'integration_id="{integration.id}",tenant_id="{integration.tenant_id}"'
    metrics = client.get("/metrics").content.decode()
    assert f"cus_enforcement_overrun_tokens_total{{{whose}}} 1350\n" in metrics


def test_a_call_that_lands_twice_is_used_once_and_holds_nothing(
    sdk: SdkClient, limited: CusIntegration
) -> None:
    sdk.check("call", estimated_cost_cents=5)
    assert _standing(sdk) == (0, 5)
    sent = record(call_id="call", cost_cents=7)
    for again, status in ((sent, 201), (sent, 200), (sent | {"cost_cents": 9}, 409)):
        assert sdk.report(again).status_code == status
        assert _standing(sdk) == (7, 0)
        assert _overrun()[0] == 2


def test_a_call_that_outlives_its_hold_is_not_held_for_and_counts_when_it_lands(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=10)
    sdk.check("call", estimated_cost_cents=10)
    assert _standing(sdk) == (0, 10)
    assert sdk.check().json()["result"] == "blocked"
    as_if("UPDATE cus_enforcement_holds SET expires_at = now() - interval '1 second'")
    assert _standing(sdk) == (0, 10)  # until it is swept (ruling F5b)
    assert sweep() == (1, 0)
    assert _standing(sdk) == (0, 0)
    assert sdk.check(reserve=False).json()["result"] == "allowed"

    sdk.report(record(call_id="call", cost_cents=10))

    assert _standing(sdk) == (10, 0)
    assert sdk.check().json()["result"] == "blocked"
    assert _overrun() == (0, 0, 0)  # nothing was held for it when it landed


def test_a_call_that_lands_in_the_next_month_is_used_there_and_leaves_the_last_one_as_it_was(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=12)
    sdk.report(record(cost_cents=7))
    sdk.check("call", estimated_cost_cents=5)
    assert _standing(sdk) == (7, 5)
    assert sdk.check().json()["result"] == "blocked"

    _the_month_turns()
    assert _standing(sdk) == (0, 5)
    assert sdk.check(estimated_cost_cents=8).json()["result"] == "blocked"
    assert sdk.check(estimated_cost_cents=7, reserve=False).json()["result"] == "allowed"

    sdk.report(record(call_id="call", cost_cents=8))

    assert _standing(sdk) == (8, 0)
    by_month = Counter[Any]()
    for total in CusPeriodTotals.objects.all():
        by_month[total.period] += total.cost_cents
    assert [spent for _, spent in sorted(by_month.items())] == [7, 8]
    assert _overrun()[0] == 3


def _the_month_turns() -> None:
    """All that happened so far happened last month, except that holds live on."""
    as_if(
        "UPDATE cus_period_totals SET period = period - interval '1 month'",
        "UPDATE cus_enforcement_holds SET taken_at = taken_at - interval '10 minutes'",
    )


def test_the_next_month_begins_with_nothing_used_and_what_runs_still_held(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=10)
    sdk.report(record(cost_cents=10))
    sdk.check("runs on", estimated_cost_cents=5)
    now = datetime.now(UTC)
    end = (now.replace(day=28) + timedelta(days=4)).replace(day=1, hour=0, minute=0, second=0)
    CusEnforcementHold.objects.create(
        tenant_id=integration.tenant_id, integration_id=integration.id, call_id="held",
        cents=5, microcents=0, tokens=0, expires_at=end + timedelta(minutes=10),
    )  # fmt: skip

    before, after = end - timedelta(seconds=1), end + timedelta(seconds=1)
    assert _check(integration, "a", before).decision.result == "blocked"
    assert _check(integration, "b", after).decision.result == "allowed"
    third = _check(integration, "c", after)

    assert third.decision.result == "blocked"
    assert third.facts.usage
    assert (third.facts.usage.used.cents, third.facts.usage.held.cents) == (0, 10)


def test_a_call_that_lands_while_it_is_renewed_gets_no_hold_again(
    sdk: SdkClient, limited: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk.check("call", estimated_cost_cents=5)
    landed = threading.Event()
    values = holds.change_values

    def land_first(*arguments: Any) -> Any:
        if not landed.is_set():
            landed.set()
            sdk.report(record(call_id="call", cost_cents=5))
        return values(*arguments)

    monkeypatch.setattr("enforcement.cus_checks.service.change_values", land_first)
    answer = sdk.check("call", estimated_cost_cents=5).json()

    assert answer["reasons"][0]["code"] == "call_recorded"
    assert _standing(sdk) == (5, 0)


def test_the_sweeper_takes_what_is_over_or_landed_and_waits_for_nobody(
    sdk: SdkClient, limited: CusIntegration
) -> None:
    integration = limited
    for name in ("over", "lives", "locked"):
        sdk.check(name)
    sdk.report(record(call_id="orphan"))
    later = timezone.now() + timedelta(minutes=5)
    CusEnforcementHold.objects.create(
        tenant_id=integration.tenant_id, integration_id=integration.id, call_id="orphan",
        cents=1, microcents=1, tokens=1, expires_at=later,
    )  # fmt: skip
    as_if(
        "UPDATE cus_enforcement_holds SET expires_at = now() - interval '1 second'"
        " WHERE call_id IN ('over', 'locked')"
    )
    with (
        _superuser(str(connections["default"].settings_dict["NAME"])) as other,
        other.transaction(),
    ):
        other.execute("SELECT 1 FROM cus_enforcement_holds WHERE call_id = 'locked' FOR UPDATE")
        assert sweep() == (2, 0)

    left = set(CusEnforcementHold.objects.values_list("call_id", flat=True))
    assert left == {"lives", "locked"}


def test_where_no_worker_sweeps_another_one_does_late_and_says_so(
    sdk: SdkClient, limited: CusIntegration, caplog: pytest.LogCaptureFixture
) -> None:
    sdk.check("over")
    sdk.check("late")
    for name, seconds in (("over", 30), ("late", 90)):
        as_if(
            "UPDATE cus_enforcement_holds SET expires_at ="
            f" now() - interval '{seconds} seconds' WHERE call_id = '{name}'"
        )
    cus_sweep_late_holds()

    assert not CusEnforcementHold.objects.exists()
    assert "is a worker running with -Q cus_holds?" in caplog.text
    caplog.clear()
    sdk.check("lives")
    cus_sweep_late_holds()
    assert CusEnforcementHold.objects.exists()
    assert not caplog.text


def test_a_key_that_nobody_could_vouch_for_holds_nothing_and_learns_nothing(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.check()
    whose = (integration.tenant_id, integration.id)
    for absent in (True, False):
        caller = Caller(*whose, time.monotonic(), absent, verified=False)
        verdict = CusEnforcementService(caller).check(CheckRequest(call_id="made-up"))
        assert verdict.decision.reasons[0].code == "state_unknown"
        assert verdict.facts.authority is None

    assert not CusEnforcementHold.objects.filter(call_id="made-up").exists()


# --- Explained ----------------------------------------------------------------------------------


def _refusals(sdk: SdkClient, integration: CusIntegration) -> None:
    scope = CusIntegration.objects.filter(id=integration.id)
    scope.update(budget_limit_cents=1, token_limit_month=5, rate_limit_rpm=1)
    sdk.check("over", estimated_cost_cents=2, estimated_tokens=9)
    sdk.check("unpriced", model="nobody-knows", estimated_cost_cents=None)
    scope.update(enforcement_level="warn")
    sdk.check("warned", estimated_cost_cents=2)
    scope.update(status="disabled")
    sdk.check("disabled")


def test_every_logged_decision_comes_out_the_same_from_its_stored_facts(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    _refusals(sdk, integration)
    logged = list(CusEnforcementDecision.objects.order_by("created_at"))

    assert [one.call_id for one in logged] == ["over", "unpriced", "warned", "disabled"]
    for one in logged:
        again = decide(msgspec.convert(one.facts, Facts))
        assert (again.result, again.step) == (one.result, one.step)
        assert list(msgspec.to_builtins(again.reasons)) == one.reasons
        assert explain(one).identical is True


def _explain(*arguments: Any) -> str:
    out = io.StringIO()
    call_command("cus_decision_explain", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_says_why_and_what_would_change_it(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    _refusals(sdk, integration)

    text = _explain("over", "--tenant", integration.tenant.name)

    assert "blocked" in text
    assert "check 4, the budget" in text
    assert "The monthly budget of $0.01 has no room" in text
    assert "would change it level warn: warned" in text
    assert "authority.budget_limit_cents" in text
    assert "decided again   identical" in text


def test_the_command_asks_which_where_several_integrations_have_that_call(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sibling = make_integration(integration.tenant)
    _refusals(sdk, integration)
    _refusals(SdkClient.of(sibling), sibling)

    with pytest.raises(CommandError) as asked:
        _explain("over")
    for one in (integration, sibling):
        assert f"--integration {one.id}  {one.name} of {one.tenant.name}" in str(asked.value)
        assert "decided again   identical" in _explain("over", "--integration", str(one.id))
    with pytest.raises(CommandError, match="is not the id of an integration"):
        _explain("over", "--integration", "first")


def test_the_command_knows_no_call_of_another_tenant_and_none_that_was_plainly_allowed(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.check("fine")
    _refusals(sdk, integration)
    other = make_integration().tenant
    for arguments in (("fine",), ("over", "--tenant", other.name), (str(uuid.uuid4()),)):
        with pytest.raises(CommandError, match="No decision is logged"):
            _explain(*arguments)


def test_the_command_notices_a_decision_that_its_facts_do_not_give(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    _refusals(sdk, integration)
    kept = CusEnforcementDecision.objects.get(call_id="over")
    kept.id, kept.call_id, kept.result = uuid.uuid4(), "forged", "warned"
    kept.save(force_insert=True)

    with pytest.raises(CommandError, match="differs"):
        _explain("forged")


# --- In the console -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "sees"), [("operator", True), ("support", True), ("member", False)]
)
def test_decisions_are_read_in_the_console_within_ones_role(
    client: Client, sdk: SdkClient, integration: CusIntegration, role: str, sees: bool
) -> None:
    _refusals(sdk, integration)
    strangers = make_integration().tenant
    client.force_login(make_user(role, strangers if role == "member" else None))
    decision = CusEnforcementDecision.objects.get(call_id="over")
    pages = "/admin/enforcement/cusenforcementdecision/"

    listed = client.get(pages)
    shown = client.get(f"{pages}{decision.id}/change/")

    assert listed.status_code == 200
    assert (str(decision.id) in listed.content.decode()) is sees
    assert (shown.status_code == 200) is sees
    assert client.get(f"{pages}add/").status_code == 403
    assert client.post(f"{pages}{decision.id}/delete/").status_code in (302, 403)
    assert CusEnforcementDecision.objects.filter(id=decision.id).exists()
    if sees:
        assert str(integration.id) in shown.content.decode()
        assert decision.reason in shown.content.decode()
