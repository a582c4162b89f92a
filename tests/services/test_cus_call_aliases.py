"""Calls and reports that name one answer: whichever comes first, the answer counts once (M5b)."""

import uuid
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_corrections.cost_audit import difference, settlements_received
from telemetry.cus_evidence.lookup import sums_of_calls
from telemetry.cus_evidence.models import (
    CusCallAlias,
    CusCallLedger,
    CusLLMUsage,
    CusUsageSettlement,
)
from telemetry.cus_holds.limits import limits_of
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease
from tests.conftest import _superuser
from tests.cus_factories import (
    SdkClient,
    browser_of,
    make_integration,
    measured,
    settling,
    unmeasured,
)
from tests.trust.cus_audit import findings

pytestmark = pytest.mark.django_db(transaction=True)

_COST = 750_000  # of `measured` and `settling`


@pytest.fixture(autouse=True)
def _totals_are_the_sums_of_the_facts(integration: CusIntegration) -> Any:
    yield
    with _superuser(str(connections["default"].settings_dict["NAME"])) as audit:
        assert findings(audit) == []


def _month(integration: CusIntegration) -> dict[str, Any]:
    return limits_of(integration, now=datetime.now(UTC))


def _status(sdk: SdkClient, report: dict[str, Any]) -> str:
    return str(sdk.report(report).json().get("status", "conflict"))


def _lease(integration: CusIntegration, **amounts: int) -> CusEnforcementLease:
    now = datetime.now(UTC)
    values = {"cents": 100, "microcents": 100_000_000, "tokens": 10_000, "calls": 10} | amounts
    return CusEnforcementLease.objects.create(
        id=uuid.uuid4(),
        tenant_id=integration.tenant_id,
        integration_id=integration.id,
        holder_id="process",
        taken_at=now,
        expires_at=now + timedelta(minutes=15),
        **values,
    )


# --- The answer first ------------------------------------------------------------------------------


def test_a_call_whose_answer_came_first_is_recorded_and_never_counts_again(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(settling("resp_1"))
    late = unmeasured(call_id="background", response_id="resp_1")
    known = measured(call_id="background", response_id="resp_1")

    assert [_status(sdk, one) for one in (late, late, known, known)] == ["duplicate"] * 4
    other = sdk.report(known | {"tokens_out": 501})
    assert (other.status_code, other.json()["errors"][0]["attr"]) == (409, "tokens_out")
    row = CusLLMUsage.objects.get()
    assert sdk.report(late).json()["id"] == str(row.id)
    month = _month(integration)
    assert (month["calls"], month["cost_microcents"], month["provisional_cents"]) == (1, _COST, 0)


def test_the_hold_of_a_call_whose_answer_came_first_ends_with_its_report(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=1_000)
    sdk.check("background", estimated_cost_cents=7, estimated_tokens=900)
    sdk.report(settling("resp_1"))
    assert CusEnforcementHold.objects.count() == 1

    sdk.report(unmeasured(call_id="background", response_id="resp_1"))
    assert not CusEnforcementHold.objects.exists()
    assert CusCallAlias.objects.get().estimate_cents == 7
    reasons = sdk.check("background", estimated_cost_cents=7).json()["reasons"]
    assert [reason["code"] for reason in reasons] == ["call_recorded"]


def test_the_lease_of_a_call_whose_answer_came_first_is_lowered_once(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    lease = _lease(integration)
    aside = {"cents": 3, "microcents": 2_500_000, "tokens": 700}
    sdk.report(settling("resp_1"))
    leased = unmeasured(response_id="resp_1", lease_id=str(lease.id), reserved=aside)

    sdk.report(leased)
    sdk.report(leased)
    lease.refresh_from_db()
    assert (lease.calls, lease.cents, lease.microcents, lease.tokens) == (9, 97, 97_500_000, 9_300)


def test_nobody_lowers_a_lease_by_more_than_its_aliases_set_aside(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    lease = _lease(integration)
    sdk.report(settling("resp_1"))
    aside = {"cents": 3, "microcents": 3_000_000, "tokens": 5}
    sdk.report(unmeasured(response_id="resp_1", lease_id=str(lease.id), reserved=aside))

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE cus_enforcement_leases SET cents = cents - 1")


def test_a_call_that_another_program_reported_by_its_answer_is_found_by_its_own_id(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(settling("resp_1"))
    sdk.report(unmeasured(call_id="background", response_id="resp_1"))

    where = (integration.tenant_id, integration.id)
    assert sums_of_calls(*where, ["background"]).cost_microcents == _COST
    both = ["background", str(settling("resp_1")["call_id"])]
    assert sums_of_calls(*where, both).cost_microcents == _COST
    row = CusLLMUsage.objects.get()
    for role, tenant in (("operator", None), ("member", integration.tenant)):
        page = browser_of(role, tenant).get("/admin/telemetry/cusllmusage/", {"q": "background"})
        assert str(row.id) in page.content.decode()


def test_a_stranger_finds_no_call_by_the_id_of_ours(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(settling("resp_1"))
    sdk.report(unmeasured(call_id="background", response_id="resp_1"))
    row = CusLLMUsage.objects.get()

    stranger = browser_of("admin", make_integration().tenant)
    page = stranger.get("/admin/telemetry/cusllmusage/", {"q": "background"})
    assert str(row.id) not in page.content.decode()


def test_a_siblings_answer_is_no_answer_to_a_call_of_ours(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sibling = SdkClient.of(make_integration(integration.tenant))
    sibling.report(settling("resp_1"))

    assert _status(sdk, unmeasured(response_id="resp_1")) == "accepted"
    assert _month(integration)["unmeasured_calls"] == 1


def test_a_call_whose_answer_is_still_being_made_is_settled_under_its_own_id_too(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(settling("resp_1", tokens_in=0, tokens_out=0, usage_known=False))
    assert _status(sdk, unmeasured(call_id="background", response_id="resp_1")) == "duplicate"

    assert _status(sdk, measured(call_id="background", response_id="resp_1")) == "accepted"
    assert _status(sdk, settling("resp_1")) == "duplicate"
    month = _month(integration)
    assert (month["calls"], month["cost_microcents"], month["unmeasured_calls"]) == (1, _COST, 0)


# --- Two calls that name one answer ------------------------------------------------------------------


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_an_answer_that_two_calls_name_counts_once_and_leaves_neither_provisional(
    sdk: SdkClient, integration: CusIntegration, order: tuple[int, ...]
) -> None:
    reports = [
        unmeasured(call_id="first", response_id="resp_1"),
        unmeasured(call_id="again", response_id="resp_1"),
        settling("resp_1"),
    ]
    for number in order:
        assert _status(sdk, reports[number]) in ("accepted", "duplicate")

    month = _month(integration)
    assert (month["cost_microcents"], month["tokens"]) == (_COST, 1_500)
    assert (month["unmeasured_calls"], month["provisional_microcents"]) == (0, 0)
    assert [_status(sdk, report) for report in reports] == ["duplicate"] * 3


def test_an_answer_that_two_calls_of_a_batch_name_counts_once(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    calls = [unmeasured(response_id="resp_1", call_id=f"c{number}") for number in range(3)]
    answer = sdk.report_batch(settling("resp_1"), *calls, settling("resp_2")).json()

    assert (answer["accepted"], answer["duplicates"], answer["conflicts"]) == (5, 0, 0)
    month = _month(integration)
    assert (month["cost_microcents"], month["unmeasured_calls"]) == (2 * _COST, 0)


def test_a_further_call_of_an_answer_is_settled_with_nothing_and_says_why(sdk: SdkClient) -> None:
    sdk.report(unmeasured(call_id="first", response_id="resp_1"))
    sdk.report(unmeasured(call_id="again", response_id="resp_1"))
    sdk.report(settling("resp_1"))

    further = CusUsageSettlement.objects.get(flags=["same_answer"])
    assert further.usage_id == CusLLMUsage.objects.get(call_id="again").id
    assert (further.cost_microcents, further.tokens_in, further.pricing) == (0, 0, "unmeasured")
    day = timedelta(days=1)
    received = settlements_received(datetime.now(UTC) - day, datetime.now(UTC) + day)
    assert [difference(settlement) for settlement in received] == [None, None]


def test_a_later_report_of_a_further_call_is_compared_with_the_answers_usage(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(unmeasured(call_id="first", response_id="resp_1"))
    sdk.report(unmeasured(call_id="again", response_id="resp_1"))
    sdk.report(settling("resp_1"))

    known = measured(call_id="again", response_id="resp_1")
    assert _status(sdk, known) == "duplicate"
    assert _status(sdk, known | {"tokens_in": 7}) == "conflict"
    assert _month(integration)["cost_microcents"] == _COST


def test_calls_of_one_name_stay_two_until_their_answer_is_told(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    # Servers that make up ids repeat them: what nobody has measured must not vanish for that.
    sdk.report(unmeasured(call_id="first", response_id="chatcmpl-7"))
    sdk.report(unmeasured(call_id="other", response_id="chatcmpl-7"))
    assert _month(integration)["unmeasured_calls"] == 2

    assert _status(sdk, measured(call_id="first", response_id="chatcmpl-7")) == "accepted"
    assert _status(sdk, measured(call_id="other", response_id="chatcmpl-7")) == "accepted"
    month = _month(integration)
    assert (month["unmeasured_calls"], month["cost_microcents"]) == (0, 2 * _COST)


def test_a_report_by_the_answer_settles_what_its_first_calls_own_report_left(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(unmeasured(call_id="first", response_id="resp_1"))
    sdk.report(unmeasured(call_id="again", response_id="resp_1"))
    sdk.report(measured(call_id="first", response_id="resp_1"))

    assert _status(sdk, settling("resp_1")) == "duplicate"
    month = _month(integration)
    assert (month["unmeasured_calls"], month["cost_microcents"]) == (0, _COST)


def test_every_reported_id_is_in_the_ledger(sdk: SdkClient) -> None:
    sdk.report(unmeasured(call_id="first", response_id="resp_1"))
    sdk.report(settling("resp_1"))
    sdk.report(unmeasured(call_id="late", response_id="resp_1"))

    usage = CusLLMUsage.objects.get()
    assert set(CusCallLedger.objects.values_list("usage_id", flat=True)) == {usage.id}
    assert CusCallLedger.objects.count() == 3
    aliases = set(CusCallAlias.objects.values_list("call_id", "usage_id"))
    assert aliases == {(settling("resp_1")["call_id"], usage.id), ("late", usage.id)}


@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET call_id = 'x'", "DELETE FROM {}", "TRUNCATE {}"]
)
def test_aliases_are_append_only(sdk: SdkClient, statement: str) -> None:
    sdk.report(settling("resp_1"))
    sdk.report(unmeasured(response_id="resp_1"))

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format("cus_call_aliases"))


# --- What was set aside ------------------------------------------------------------------------------

_MOST = {"provisional_cents": 49, "provisional_tokens": 144_384}  # of a call of gpt-4o


def _provisional() -> dict[str, Any]:
    return dict(CusLLMUsage.objects.values(*_MOST).get())


@pytest.mark.parametrize("whose", ["nobody's", "a sibling's"])
def test_who_names_no_lease_of_the_integration_says_nothing_of_what_was_set_aside(
    sdk: SdkClient, integration: CusIntegration, whose: str
) -> None:
    sibling = _lease(make_integration(integration.tenant))
    lease_id = uuid.uuid4() if whose == "nobody's" else sibling.id
    aside = {"cents": 1, "microcents": 1, "tokens": 1}

    sdk.report(unmeasured(lease_id=str(lease_id), reserved=aside))
    assert _provisional() == _MOST


def test_what_a_lease_set_aside_counts_until_usage_is_known(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    lease = _lease(integration)
    aside = {"cents": 3, "microcents": 3_000_000, "tokens": 700}

    sdk.report(unmeasured(lease_id=str(lease.id), reserved=aside))
    assert _provisional() == {"provisional_cents": 3, "provisional_tokens": 700}


def test_no_call_counts_more_than_its_lease_had(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    lease = _lease(integration, cents=9, microcents=9_000_000, tokens=800)
    absurd = {"cents": 2**63 - 1, "microcents": 2**63 - 1, "tokens": 2**63 - 1}

    sdk.report(unmeasured(lease_id=str(lease.id), reserved=absurd))
    assert _provisional() == {"provisional_cents": 9, "provisional_tokens": 800}


@pytest.mark.parametrize("reserved", [None, {}, {"cents": 0, "microcents": 0, "tokens": 0}])
def test_a_leased_call_for_which_nothing_was_set_aside_counts_what_it_may_use_at_most(
    sdk: SdkClient, integration: CusIntegration, reserved: Any
) -> None:
    lease = _lease(integration)

    sdk.report(unmeasured(lease_id=str(lease.id), reserved=reserved))
    assert _provisional() == _MOST
