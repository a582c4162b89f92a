"""Usage that is not known is not zero, and counts once it becomes known (ruling M5b)."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.db.models import Sum

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_corrections.repricing import reprice
from telemetry.cus_evidence import answers
from telemetry.cus_evidence.models import CusLLMUsage, CusPeriodTotals, CusUsageSettlement
from telemetry.cus_evidence.settlements import lock_responses
from telemetry.cus_holds.limits import limits_of
from telemetry.cus_holds.models import CusEnforcementHold
from telemetry.cus_signals.usage import usage_families
from tests.conftest import _superuser
from tests.cus_factories import (
    BATCH,
    SdkClient,
    browser_of,
    make_integration,
    measured,
    record,
    settling,
    unmeasured,
)
from tests.trust.cus_audit import findings

pytestmark = pytest.mark.django_db(transaction=True)

_PROVISIONAL = ("provisional_cents", "provisional_microcents", "provisional_tokens")


def _month(integration: CusIntegration) -> dict[str, Any]:
    return limits_of(integration, now=datetime.now(UTC))


@pytest.fixture(autouse=True)
def _totals_are_the_sums_of_the_facts(integration: CusIntegration) -> Any:
    yield
    with _superuser(str(connections["default"].settings_dict["NAME"])) as audit:
        assert findings(audit) == []


def test_a_call_of_unknown_usage_has_no_cost_and_counts_what_it_may_use_at_most(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    assert sdk.report(unmeasured(model="gpt-4o")).status_code == 201

    row = CusLLMUsage.objects.get()
    assert (row.pricing, row.cost_cents, row.cost_microcents) == ("unmeasured", 0, 0)
    # A context of 128,000 tokens at $2.50 a million, and 16,384 tokens of output at $10.
    assert row.provisional_microcents == 128_000 * 250 + 16_384 * 1_000
    assert (row.provisional_cents, row.provisional_tokens) == (49, 144_384)
    month = _month(integration)
    assert (month["unmeasured_calls"], month["cost_microcents"]) == (1, 0)
    assert month["provisional_microcents"] == row.provisional_microcents


def test_a_call_that_was_held_for_counts_what_was_held(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=1_000)
    sdk.check("held", estimated_cost_cents=7, estimated_tokens=900)
    sdk.report(unmeasured(call_id="held"))

    row = CusLLMUsage.objects.get()
    assert (row.provisional_cents, row.provisional_tokens) == (7, 900)
    assert not CusEnforcementHold.objects.exists()


def test_a_call_of_an_unknown_model_and_unknown_usage_is_not_zero_either(sdk: SdkClient) -> None:
    sdk.report(unmeasured(model="nobody-knows"))

    row = CusLLMUsage.objects.get()
    assert [getattr(row, name) for name in _PROVISIONAL] == [1, 1, 1]


@pytest.mark.parametrize(
    ("fields", "pricing"),
    [
        ({"operation": "chat"}, "unmeasured"),
        ({"operation": "image"}, "unmeasured"),
        ({"operation": "other"}, "table"),
        ({"operation": "chat", "error_code": "APITimeoutError"}, "table"),
        ({"operation": "chat", "policy_result": "blocked", "usage_known": False}, "table"),
        ({"operation": "image", "billed_units": {"images": 1}}, "table"),
        ({"operation": "chat", "cost_cents": 3}, "table"),
        ({"operation": "chat", "tokens_in": 1, "usage_known": False}, "table"),
    ],
)
def test_a_report_without_usage_is_unmeasured_where_its_operation_bills_some(
    sdk: SdkClient, fields: dict[str, Any], pricing: str
) -> None:
    sdk.report(record(**{"tokens_in": 0, "tokens_out": 0, "cost_cents": None} | fields))
    assert CusLLMUsage.objects.get().pricing == pricing


def test_budgets_never_see_an_unmeasured_call_as_nothing(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=60)
    sdk.report(unmeasured(call_id="background", model="gpt-4o"))  # 49 cents at most

    assert sdk.check(estimated_cost_cents=12).json()["result"] == "blocked"
    sdk.report(measured(call_id="background", tokens_in=1_000, tokens_out=500))  # 0.75 cents
    assert sdk.check(estimated_cost_cents=12).json()["result"] == "allowed"


def test_known_usage_under_the_same_call_id_settles_the_call_once(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(unmeasured(call_id="background"))
    known = measured(call_id="background", tokens_in=1_000, tokens_out=500)

    first, again = sdk.report(known), sdk.report(known)
    other = sdk.report(known | {"tokens_out": 501})

    assert (first.status_code, first.json()["status"]) == (201, "accepted")
    assert (again.status_code, again.json()["status"]) == (200, "duplicate")
    assert (other.status_code, other.json()["errors"][0]["attr"]) == (409, "tokens_out")
    settlement = CusUsageSettlement.objects.get()
    assert first.json()["id"] == str(settlement.usage_id) == str(CusLLMUsage.objects.get().id)
    assert (settlement.cost_microcents, settlement.counted_cents) == (750_000, 1)
    month = _month(integration)
    assert (month["unmeasured_calls"], month["provisional_cents"]) == (0, 0)
    assert (month["calls"], month["tokens"], month["cost_microcents"]) == (1, 1_500, 750_000)


def test_a_repeated_report_of_unknown_usage_is_a_duplicate_before_and_after_the_settlement(
    sdk: SdkClient,
) -> None:
    unknown = unmeasured(call_id="background")
    sdk.report(unknown)
    assert sdk.report(unknown).json()["status"] == "duplicate"
    sdk.report(measured(call_id="background"))
    assert sdk.report(unknown).json()["status"] == "duplicate"
    assert CusLLMUsage.objects.count() == CusUsageSettlement.objects.count() == 1


def test_a_report_of_unknown_usage_that_comes_after_the_known_one_is_a_duplicate(
    sdk: SdkClient,
) -> None:
    sdk.report(measured(call_id="background"))

    assert sdk.report(unmeasured(call_id="background")).json()["status"] == "duplicate"
    assert CusLLMUsage.objects.get().pricing == "table"


def test_another_process_settles_a_call_by_the_answers_id(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(unmeasured(response_id="resp_1"))

    assert sdk.report(settling("resp_1")).json()["status"] == "accepted"
    assert sdk.report(settling("resp_1")).json()["status"] == "duplicate"
    assert CusLLMUsage.objects.count() == CusUsageSettlement.objects.count() == 1
    assert _month(integration)["cost_microcents"] == 750_000


def test_an_answer_that_is_reported_before_its_call_counts_once(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    assert sdk.report(settling("resp_1")).json()["status"] == "accepted"

    late = unmeasured(response_id="resp_1")
    assert sdk.report(late).json()["status"] == "duplicate"
    assert sdk.report(late).json()["status"] == "duplicate"
    assert sdk.report(settling("resp_1")).json()["status"] == "duplicate"
    assert CusLLMUsage.objects.get().pricing == "table"
    month = _month(integration)
    assert (month["calls"], month["cost_microcents"], month["provisional_cents"]) == (1, 750_000, 0)


def test_an_answer_that_is_still_not_ready_settles_nothing(sdk: SdkClient) -> None:
    sdk.report(unmeasured(response_id="resp_1"))
    waiting = settling("resp_1", tokens_in=0, tokens_out=0, usage_known=False)

    assert sdk.report(waiting).json()["status"] == "duplicate"
    assert sdk.report(settling("resp_1")).json()["status"] == "accepted"


def test_a_call_that_comes_after_a_reader_that_still_waits_is_counted_once(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    waiting = settling("resp_1", tokens_in=0, tokens_out=0, usage_known=False)
    assert sdk.report(waiting).json()["status"] == "accepted"
    assert sdk.report(unmeasured(response_id="resp_1")).json()["status"] == "duplicate"

    assert sdk.report(settling("resp_1")).json()["status"] == "accepted"
    assert _month(integration)["calls"] == 1


def test_another_call_under_the_id_of_an_unmeasured_one_is_a_conflict(sdk: SdkClient) -> None:
    first = unmeasured(call_id="background", model="gpt-4o")
    sdk.report(first)

    answer = sdk.report(first | {"model": "gpt-5.2"})
    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (409, "model")


def test_a_batch_of_many_unmeasured_calls_takes_few_locks(
    sdk: SdkClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    def lock(cursor: Any, *names: Any) -> None:
        lock_responses(cursor, *names)
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        )
        held.append(cursor.fetchone()[0])

    monkeypatch.setattr(answers, "lock_responses", lock)
    calls = [unmeasured(response_id=f"resp_{number}") for number in range(200)]
    assert sdk.report_batch(*calls).json()["accepted"] == 200
    assert 1 < held[0] <= 16


def test_a_call_and_its_settlement_in_one_batch_are_one_call(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    batch = {"records": [settling("resp_1"), unmeasured(response_id="resp_1"), measured()]}
    answer = sdk.client.post(BATCH, batch, content_type="application/json").json()

    assert (answer["accepted"], answer["conflicts"], answer["rejected"]) == (3, 0, 0)
    assert CusLLMUsage.objects.count() == 2
    assert CusUsageSettlement.objects.count() == 1


def test_a_siblings_key_settles_no_call_of_ours(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sibling = SdkClient.of(make_integration(integration.tenant))
    sdk.report(unmeasured(response_id="resp_1"))

    sibling.report(settling("resp_1"))
    assert not CusUsageSettlement.objects.exists()
    assert _month(integration)["unmeasured_calls"] == 1


def test_processes_that_report_a_call_and_its_answer_at_one_moment_count_it_once(
    integration: CusIntegration,
) -> None:
    calls = [unmeasured(response_id=f"resp_{i}") for i in range(20)]
    answers = [settling(f"resp_{i}") for i in range(20)]

    def report(number: int) -> list[str]:
        program = SdkClient.of(integration)
        try:
            return [program.report(one).json()["status"] for one in (calls, answers)[number % 2]]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        statuses = {status for part in threads.map(report, range(4)) for status in part}

    assert statuses == {"accepted", "duplicate"}
    month = _month(integration)
    assert (month["calls"], month["cost_microcents"]) == (20, 20 * 750_000)
    assert (month["unmeasured_calls"], month["provisional_microcents"]) == (0, 0)


def test_a_settlement_that_comes_next_month_frees_the_old_month_and_costs_the_new(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(unmeasured(call_id="background"))
    _move_to_last_month()

    sdk.report(measured(call_id="background"))

    names = ("provisional_cents", "released_cents", "settled", "calls", "cost_microcents")
    sums = [Sum(name) for name in names]
    months = CusPeriodTotals.objects.values("period").annotate(*sums).order_by("period")
    old, new = months.values_list(*(f"{name}__sum" for name in names))
    assert old == (49, 49, 1, 1, 0)
    assert new == (0, 0, 0, 0, 750_000)


def _move_to_last_month() -> None:
    """As if all that is stored had come a month ago."""
    last = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).replace(day=3)
    with _superuser(str(connections["default"].settings_dict["NAME"])) as database:
        database.execute("SET session_replication_role = replica")
        for table, moment in (
            ("cus_llm_usage", "created_at"),
            ("cus_call_ledger", "usage_created_at"),
        ):
            database.execute(f"UPDATE {table} SET {moment} = %s".encode(), [last])
        # No window of a rate reaches back so far.
        database.execute("DELETE FROM cus_landed_admissions")
        database.execute("UPDATE cus_period_totals SET period = %s", [last.replace(day=1).date()])


def test_a_settlement_names_an_unmeasured_row_that_is_stored(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(measured())
    row = CusLLMUsage.objects.get()
    facts = {
        "id": row.id, "tenant_id": row.tenant_id, "integration_id": row.integration_id,
        "usage_id": row.id, "usage_created_at": row.created_at, "call_id": "x", "model": "m",
        "tokens_in": 1, "tokens_out": 1, "cost_cents": 1, "cost_microcents": 1, "counted_cents": 1,
        "pricing": "table", "occurred_at": row.occurred_at,
    }  # fmt: skip

    with pytest.raises(DatabaseError, match="not stored as unmeasured"), transaction.atomic():
        CusUsageSettlement.objects.create(**facts)


@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET cost_cents = 0", "DELETE FROM {}", "TRUNCATE {}"]
)
def test_settlements_are_append_only(sdk: SdkClient, statement: str) -> None:
    sdk.report(unmeasured(call_id="background"))
    sdk.report(measured(call_id="background"))

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format("cus_usage_settlements"))


def test_a_provider_that_says_what_a_call_cost_is_believed_where_there_is_no_price(
    sdk: SdkClient,
) -> None:
    sdk.report(measured(model="nobody-knows", provider_cost_microcents=1_234_567))
    sdk.report(measured(model="gpt-4o", provider_cost_microcents=1_234_567))

    by_model = {row.model: row for row in CusLLMUsage.objects.all()}
    beyond, listed = by_model["nobody-knows"], by_model["gpt-4o"]
    assert (beyond.pricing, beyond.cost_microcents) == ("provider", 1_234_567)
    assert (beyond.cost_cents, beyond.counted_cents) == (2, 2)
    assert (listed.pricing, listed.cost_microcents) == ("table", 750_000)
    assert listed.provider_cost_microcents == 1_234_567


def _metric(name: str, integration: CusIntegration) -> float:
    """A metric of the integration, as it is scraped."""
    families = {family.name: family for family in usage_families()}
    return sum(
        float(line.rpartition(" ")[2])
        for line in families[name].text().splitlines()
        if str(integration.id) in line
    )


def _waiting_by_page(page: str) -> int:
    """The calls that a page of usage records shows without a cost."""
    return page.count("usage not known")


@pytest.mark.parametrize("settled", [0, 1, 2])
def test_all_that_counts_unmeasured_calls_agrees_before_and_after_settlements(
    sdk: SdkClient, integration: CusIntegration, settled: int
) -> None:
    for number in range(3):
        sdk.report(unmeasured(call_id=f"c{number}", response_id="resp_1" if number else "resp_0"))
    if settled:
        sdk.report(settling("resp_0"))
    if settled > 1:
        sdk.report(settling("resp_1"))  # both calls that name it

    waiting = 3 - (0, 1, 3)[settled]
    month = _month(integration)
    assert month["unmeasured_calls"] == waiting
    assert month["provisional_cents"] == 49 * waiting
    came, gone = (
        _metric(f"cus_llm_{name}_calls_total", integration) for name in ("unmeasured", "settled")
    )
    assert came - gone == waiting
    provisional = _metric("cus_llm_provisional_microcents", integration)
    assert provisional == month["provisional_microcents"]
    page = browser_of("operator").get("/admin/telemetry/cusllmusage/").content.decode()
    assert _waiting_by_page(page) == waiting
    now = datetime.now(UTC)
    done = list(reprice(None, now - timedelta(days=1), now + timedelta(days=1)))
    assert sum(part.unmeasured for part in done) == waiting
