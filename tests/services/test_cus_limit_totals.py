"""What limits at scopes count of landed calls: by rows, settlements and corrections, from the first."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Sum
from django.utils import timezone

from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from telemetry.cus_evidence.models import CusLLMUsage, CusUsageSettlement
from telemetry.cus_holds.limit_models import CusLimitHolds, CusLimitTotals, CusRunLimit
from telemetry.cus_holds.sweeping import sweep_limits
from tests.conftest import as_if
from tests.cus_factories import SdkClient, correct, make_integration, measured, record, unmeasured
from tests.cus_limits import change_limit, make_limit

pytestmark = pytest.mark.django_db(transaction=True)


def counted(limit: CusScopedLimit) -> dict[str, tuple[int, int, int]]:
    """Calls, cents and tokens by value, over all windows."""
    rows = CusLimitTotals.objects.filter(limit_id=limit.id).values("value")
    sums = rows.annotate(Sum("calls"), Sum("cents"), Sum("tokens"))
    return {
        row["value"]: (int(row["calls__sum"]), int(row["cents__sum"]), int(row["tokens__sum"]))
        for row in sums
    }


CALL = {"tokens_in": 10, "tokens_out": 5, "cost_cents": 3}


@pytest.mark.parametrize("early", [True, False], ids=["before its calls", "after its calls"])
@pytest.mark.parametrize(
    ("scope", "names", "value"),
    [
        ("tenant", {}, ""),
        ("integration", {}, ""),
        ("model", {"model": "gpt-4o"}, "gpt-4o"),
        ("model", {"model": "gpt-4o-2024-08-06", "model_requested": "gpt-4o"}, "gpt-4o"),
        ("agent_id", {"agent_id": "writer"}, "writer"),
        ("session_id", {"session_id": "s-1"}, "s-1"),
        ("end_user", {"end_user": "ann"}, "ann"),
        ("tag", {"tags": ["a=b", "team=red=1", "team=blue"]}, "red=1"),
    ],
)
def test_a_limit_counts_the_calls_of_its_scope_whenever_it_was_made(
    integration: CusIntegration,
    sdk: SdkClient,
    scope: str,
    names: dict[str, Any],
    value: str,
    early: bool,
) -> None:
    tag = "team" if scope == "tag" else ""

    def make() -> CusScopedLimit:
        return make_limit(integration, scope, value, tag=tag)

    limit = make() if early else None
    sdk.report_batch(record(**CALL, **names), record(**CALL, **names))
    if scope not in ("tenant", "integration"):
        sdk.report_batch(record(**CALL | {"model": "o3"}))
    limit = limit or make()
    assert counted(limit) == {value: (2, 6, 30)}


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("window", ["minute", "day", "week", "life"])
def test_a_limit_counts_over_its_window(
    integration: CusIntegration, sdk: SdkClient, window: str, early: bool
) -> None:
    def make() -> CusScopedLimit:
        return make_limit(integration, "session_id", "s", window=window)

    limit = make() if early else None
    sdk.report_batch(record(**CALL, session_id="s"), record(**CALL))
    assert counted(limit or make()) == {"s": (1, 3, 15)}


def test_a_default_counts_each_value_by_itself(integration: CusIntegration, sdk: SdkClient) -> None:
    limit = make_limit(integration, "end_user", None)
    sdk.report_batch(*(record(**CALL, end_user=name) for name in ("ann", "bob", "ann")))
    sdk.report_batch(record(**CALL))
    assert counted(limit) == {"ann": (2, 6, 30), "bob": (1, 3, 15)}


def test_a_limit_of_the_tenant_counts_all_its_integrations(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    other = SdkClient.of(make_integration(integration.tenant))
    stranger = SdkClient.of(make_integration())
    sdk.report_batch(record(**CALL))
    limit = make_limit(integration, "tenant", "")
    for program in (other, stranger):
        program.report_batch(record(**CALL))
    assert counted(limit) == {"": (2, 6, 30)}


@pytest.mark.parametrize("made", ["first", "before the answer", "last"])
def test_unknown_usage_counts_as_what_it_may_be_until_it_is_known(
    integration: CusIntegration, sdk: SdkClient, made: str
) -> None:
    limits: list[CusScopedLimit] = []

    def make(when: str) -> None:
        if when == made:
            limits.append(make_limit(integration, "session_id", "s"))

    make("first")
    fields = {"call_id": "late", "session_id": "s", "response_id": "r-1"}
    sdk.report(unmeasured(**fields))
    row = CusLLMUsage.objects.get(call_id="late")
    make("before the answer")
    if limits:
        assert counted(limits[0]) == {"s": (1, row.provisional_cents, row.provisional_tokens)}
    sdk.report(measured(**fields))
    make("last")
    settled = CusUsageSettlement.objects.get()
    tokens = settled.tokens_in + settled.tokens_out
    assert counted(limits[0]) == {"s": (1, settled.counted_cents, tokens)}


@pytest.mark.parametrize("early", [True, False])
def test_a_correction_changes_the_exact_amount(
    integration: CusIntegration, sdk: SdkClient, early: bool
) -> None:
    limit = make_limit(integration, "agent_id", "writer") if early else None
    sdk.report(record(**CALL, agent_id="writer"))
    row = CusLLMUsage.objects.get()
    correct(row, by_microcents=-7)
    limit = limit or make_limit(integration, "agent_id", "writer")
    assert exact([limit]) == row.cost_microcents - 7


def exact(limits: Iterable[CusScopedLimit]) -> int:
    rows = CusLimitTotals.objects.filter(limit_id__in=[limit.id for limit in limits])
    return int(rows.aggregate(sum=Sum("microcents"))["sum"])


def totals(limits: Iterable[CusScopedLimit]) -> set[tuple[Any, ...]]:
    """All that limits counted, but for who added it."""
    rows = CusLimitTotals.objects.filter(limit_id__in=[limit.id for limit in limits])
    keys = rows.values_list("limit_id", "value", "start")
    return set(keys.annotate(*map(Sum, ("calls", "cents", "microcents", "tokens"))))


@pytest.mark.parametrize("tags", [None, ["team=red", "team=blue"]], ids=["no tags", "tags"])
def test_calls_that_came_together_count_as_those_that_came_one_by_one(
    integration: CusIntegration, sdk: SdkClient, tags: list[str] | None
) -> None:
    scopes = [("session_id", None), ("model", None), ("integration", ""), ("agent_id", "a-1")]
    limits = [
        make_limit(integration, scope, value, window=window)
        for scope, value in scopes
        for window in ("day", "week", "month", "life")
    ]
    limits.append(make_limit(integration, "tag", None, tag="team", window="day"))
    calls = [{"session_id": f"s-{n % 7}", "agent_id": f"a-{n % 3}"} for n in range(100)]
    named = {"tags": tags} if tags else {}
    sdk.report_batch(*(record(**CALL, **call, **named) for call in calls))
    together = totals(limits)
    as_if("DELETE FROM cus_limit_totals")
    for call in calls:
        sdk.report(record(**CALL, **call, **named))
    assert totals(limits) == together
    assert len(together) == 4 * (7 + 1 + 1 + 1) + bool(tags)


def test_calls_that_are_stored_at_once_count_on_the_days_of_their_receipt(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "session_id", "s", window="day")
    sdk.report(record(**CALL, session_id="s"))
    as_if(
        "DELETE FROM cus_limit_totals",
        "SET session_replication_role = origin",
        """INSERT INTO cus_llm_usage SELECT (jsonb_populate_record(usage, jsonb_build_object(
            'id', gen_random_uuid(), 'created_at', created_at - day * interval '1 day'))).*
        FROM cus_llm_usage AS usage, generate_series(0, 1) AS day""",
    )
    starts = CusLimitTotals.objects.filter(limit_id=limit.id).values_list("calls", "start")
    assert sorted(calls for calls, _ in starts) == [1, 1]
    assert len({start for _, start in starts}) == 2


# --- Sweeping -----------------------------------------------------------------------------------


def test_what_no_limit_counts_any_more_is_swept(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limits = [
        make_limit(integration, "session_id", "s", window=window)
        for window in ("minute", "day", "week", "month", "life")
    ]
    deleted = make_limit(integration, "agent_id", "a")
    sdk.report(record(**CALL, session_id="s", agent_id="a"))
    assert sweep_limits() == 0
    change_limit(deleted, deleted_at=timezone.now() - timedelta(days=2))
    assert sweep_limits() == 1
    as_if("UPDATE cus_limit_totals SET start = start - interval '36 days' WHERE start > 'epoch'")
    assert sweep_limits() == 4
    assert [bool(counted(limit)) for limit in limits] == [False] * 4 + [True]


def test_sums_of_holds_that_came_to_nothing_are_swept_and_others_stay(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    make_limit(integration, "session_id", None)
    sdk.check("one", session_id="s")
    sdk.check("two", session_id="t")
    sdk.report(record(**CALL, call_id="one", session_id="s"))
    assert sweep_limits() >= 1
    assert [row.value for row in CusLimitHolds.objects.all()] == ["t"]


def test_a_refused_check_of_a_made_up_name_leaves_nothing(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    make_limit(integration, "session_id", None, amount=1)
    answer = sdk.check("one", session_id="made up", estimated_cost_cents=2)
    assert answer.json()["result"] == "blocked"
    assert not CusLimitHolds.objects.exists()


def test_a_blocked_call_of_a_made_up_name_is_swept(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "session_id", None, window="life")
    blocked = {"tokens_in": 0, "tokens_out": 0, "cost_cents": 0, "policy_result": "blocked"}
    sdk.report_batch(record(**CALL, session_id="s"), record(**blocked, session_id="made up"))
    assert counted(limit) == {"s": (1, 3, 15), "made up": (0, 0, 0)}
    sweep_limits()
    assert counted(limit) == {"s": (1, 3, 15)}


def test_a_flood_of_made_up_names_is_swept_at_once_and_what_is_used_or_held_stays(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "session_id", None, window="life")
    sdk.check("running", session_id="held", estimated_cost_cents=2)
    sdk.report(record(**CALL, session_id="used"))
    whose = f"'{limit.tenant_id}', '{integration.id}', '{limit.id}'"
    as_if(
        *(
            f"""INSERT INTO {table} (tenant_id, integration_id, limit_id, value, start, shard)
            SELECT {whose}, 'made up ' || number, 'epoch', 0
            FROM generate_series(1, 100100) AS number"""
            for table in ("cus_limit_totals", "cus_limit_holds")
        )
    )
    assert sweep_limits() == 200_200
    assert list(counted(limit)) == ["used"]
    assert [row.value for row in CusLimitHolds.objects.all()] == ["held"]


def test_a_budget_in_code_that_was_swept_starts_anew_from_evidence(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    sdk.check("one", session_id="s", run={"cents": 10}, estimated_cost_cents=3)
    sdk.check("running", session_id="s", estimated_cost_cents=2)
    sdk.report(record(**CALL, call_id="one", session_id="s"))
    as_if("UPDATE cus_run_limits SET used_at = used_at - interval '31 days'")
    sweep_limits()
    assert not CusRunLimit.objects.exists()
    answer = sdk.check("two", session_id="s", run={"cents": 10}, estimated_cost_cents=6).json()
    assert answer["result"] == "blocked"
    assert answer["reasons"][0]["current_value"] == 3
    assert answer["reasons"][0]["held_value"] == 2


def test_a_budget_in_code_starts_from_settled_and_corrected_calls_of_its_session(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    fields = {"call_id": "late", "session_id": "s", "response_id": "r-1"}
    sdk.report(unmeasured(**fields))
    sdk.report(measured(**fields))
    sdk.report(record(**CALL, call_id="plain", session_id="s"))
    sdk.report(record(**CALL, session_id="other"))
    plain = CusLLMUsage.objects.get(call_id="plain")
    correct(plain, by_microcents=5)
    sdk.check("next", session_id="s", run={"cents": 10_000})

    settled = CusUsageSettlement.objects.get()
    sums = CusLimitTotals.objects.filter(value="s").aggregate(
        *(Sum(name) for name in ("calls", "cents", "microcents", "tokens"))
    )
    assert {name: int(value) for name, value in sums.items()} == {
        "calls__sum": 2,
        "cents__sum": settled.counted_cents + 3,
        "microcents__sum": settled.cost_microcents + plain.cost_microcents + 5,
        "tokens__sum": settled.tokens_in + settled.tokens_out + 15,
    }
