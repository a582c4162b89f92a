"""The application's own login can't lower used, held or leased amounts."""

import importlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.utils import timezone

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence import store
from telemetry.cus_evidence.models import CusLLMUsage, CusPeriodTotals
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease
from telemetry.cus_holds.sweeping import sweep
from telemetry.cus_ids import uuid7
from tests.conftest import _superuser, as_if
from tests.cus_factories import SdkClient, correct, make_integration, record
from tests.trust.cus_audit import SUMMED, findings

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

_TOTALS = ("cus_period_totals", "cus_lifetime_totals")
_LOWERED = (
    *(f"UPDATE {table} SET cost_cents = 0" for table in _TOTALS),
    *(f"UPDATE {table} SET counted_cents = counted_cents - 1" for table in _TOTALS),
    *(f"UPDATE {table} SET tokens_in = 0" for table in _TOTALS),
    *(f"UPDATE {table} SET calls = calls - 1" for table in _TOTALS),
    *(f"UPDATE {table} SET correction_microcents = -1" for table in _TOTALS),
    *(f"UPDATE {table} SET integration_id = gen_random_uuid()" for table in _TOTALS),
    *(f"DELETE FROM {table}" for table in _TOTALS),
    *(f"TRUNCATE {table}" for table in _TOTALS),
    *(f"UPDATE {table} SET provisional_cents = -1" for table in _TOTALS),
    *(f"UPDATE {table} SET released_cents = 1" for table in _TOTALS),
    *(f"UPDATE {table} SET settled = settled + 1" for table in _TOTALS),
    "UPDATE cus_period_totals SET period = period - interval '1 month'",
    "INSERT INTO cus_period_totals (tenant_id, integration_id, period, shard, cost_cents)"
    " SELECT tenant_id, integration_id, period, (shard + 1) % 8, -1000 FROM cus_period_totals",
    "UPDATE cus_decision_totals SET allowed = 0",
    "UPDATE cus_outcome_totals SET calls = 0",
    "UPDATE cus_outcome_totals SET le_300 = le_300 - 1",
    "UPDATE cus_outcome_totals SET policy_result = 'warned'",
    "DELETE FROM cus_outcome_totals",
    "DELETE FROM cus_decision_totals",
    "UPDATE cus_bypass_hours SET bypassed_calls = 0",
    "DELETE FROM cus_bypass_hours",
    "UPDATE cus_hold_sums SET cents = 0",
    "INSERT INTO cus_hold_sums SELECT tenant_id, integration_id, 7, 0, -1000, 0, 0"
    " FROM cus_hold_sums LIMIT 1",
    "DELETE FROM cus_hold_sums",
    "UPDATE cus_enforcement_holds SET cents = 0",
    "UPDATE cus_enforcement_holds SET expires_at = now()",
    "DELETE FROM cus_enforcement_holds",
    "TRUNCATE cus_enforcement_holds",
    "UPDATE cus_enforcement_leases SET cents = 0",
    "UPDATE cus_enforcement_leases SET calls = calls - 1",
    "UPDATE cus_enforcement_leases SET expires_at = now()",
    "DELETE FROM cus_enforcement_leases",
    "UPDATE cus_enforcement_leases SET lent_cents = lent_cents + 1",
    "UPDATE cus_enforcement_leases SET cents = cents + 1",
    "UPDATE cus_enforcement_leases SET is_young = true",
    "UPDATE cus_enforcement_leases SET slices = '[1]'",
    "UPDATE cus_enforcement_leases SET set_aside_cents = -1, set_aside_microcents = 0,"
    " set_aside_tokens = 0, set_aside_calls = 0",
    # Returned, and lowered by more than was never set aside.
    "UPDATE cus_enforcement_leases SET set_aside_cents = 5, set_aside_microcents = 0,"
    " set_aside_tokens = 0, set_aside_calls = 0, cents = 4",
    "UPDATE cus_hold_sums SET leased_cents = 0",
    "UPDATE cus_hold_sums SET leases = leases - 1",
    "UPDATE cus_landed_admissions SET tokens = tokens - 1",
    "DELETE FROM cus_landed_admissions",
    "UPDATE cus_running_admissions SET calls = 0",
    "DELETE FROM cus_running_admissions",
)


@pytest.fixture
def used(integration: CusIntegration, sdk: SdkClient) -> CusIntegration:
    """With a stored call, a live hold, a live lease, decisions and a bypass report."""
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=1_000)
    sdk.report(record(cost_cents=5))
    assert sdk.check("runs", estimated_cost_cents=7).json()["result"] == "allowed"
    _lend(integration)
    now = timezone.now()
    window = {"window_start": now - timedelta(minutes=1), "window_end": now}
    counts = {"governed_calls": 1, "bypassed_calls": 2, "process_id": "p", "hosts": {"h": 2}}
    answer = sdk.client.post(
        "/api/v1/cus/telemetry/bypass", window | counts, content_type="application/json"
    )
    assert answer.status_code in (200, 201)
    return integration


def _lend(integration: CusIntegration) -> CusEnforcementLease:
    return CusEnforcementLease.objects.create(
        tenant_id=integration.tenant_id, id=uuid7(), integration_id=integration.id, holder_id="h",
        cents=20, microcents=20_000_000, tokens=50_000, calls=4,
        expires_at=timezone.now() + timedelta(minutes=1),
    )  # fmt: skip


def _rows(table: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4")
        return list(cursor.fetchall())


@pytest.mark.parametrize("statement", _LOWERED)
def test_the_application_makes_nothing_less(used: CusIntegration, statement: str) -> None:
    table = next(word for word in statement.split() if word.startswith("cus_"))
    before = _rows(table)
    assert before

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert _rows(table) == before


def test_even_the_owner_empties_no_total(used: CusIntegration) -> None:
    others = ("cus_decision_totals", "cus_bypass_hours", "cus_outcome_totals")
    for table in (*_TOTALS, *others, "cus_decision_reasons"):
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(DatabaseError), connections["owner"].cursor() as cursor:
                cursor.execute(statement)


def test_a_correction_comes_with_an_adjustment_of_a_stored_call_and_with_nothing_else(
    used: CusIntegration,
) -> None:
    row = CusLLMUsage.objects.get()
    made_up = CusLLMUsage.objects.get()
    made_up.id = uuid7()
    with pytest.raises(DatabaseError, match="is not stored"):
        correct(made_up, by_microcents=-1_000)

    correct(row, by_microcents=-1_000)

    for table in _TOTALS:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT sum(correction_microcents) FROM {table}")
            assert cursor.fetchone() == (-1_000,)


_ALL_SHARDS = (
    "INSERT INTO cus_period_totals (tenant_id, integration_id, period, shard)"
    " SELECT tenant_id, integration_id, period, other FROM cus_period_totals,"
    " generate_series(0, 7) AS other ON CONFLICT DO NOTHING",
    "INSERT INTO cus_lifetime_totals (tenant_id, integration_id, provider, model, shard)"
    " SELECT tenant_id, integration_id, provider, model, other FROM cus_lifetime_totals,"
    " generate_series(0, 7) AS other ON CONFLICT DO NOTHING",
)


def _wait_until_one_waits_for_a_lock() -> None:
    with _superuser(str(connections["default"].settings_dict["NAME"])) as audit:
        for _ in range(1_200):
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            row = audit.execute(waiting.encode()).fetchone()
            if row and row[0]:
                return
            time.sleep(0.05)
    pytest.fail("no session waits for the month's totals")


def _closing(work: Callable[[], object]) -> object:
    try:
        return work()
    finally:
        connections.close_all()


@pytest.mark.parametrize("writer", ["ingest", "corrections"])
def test_whoever_adds_to_totals_locks_the_month_before_the_lifetime(
    used: CusIntegration, sdk: SdkClient, writer: str
) -> None:
    """In one order everywhere, so that ingest and a correction can't wait for each other."""
    as_if(*_ALL_SHARDS)
    row = CusLLMUsage.objects.get()
    work: dict[str, Callable[[], object]] = {
        "ingest": lambda: sdk.report(record()),
        "corrections": lambda: correct(row, by_microcents=-1_000),
    }
    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT FROM cus_period_totals FOR UPDATE")
            written = threads.submit(_closing, work[writer])
            _wait_until_one_waits_for_a_lock()
            cursor.execute("SELECT FROM cus_lifetime_totals FOR UPDATE SKIP LOCKED")
            assert cursor.rowcount == 8
        written.result()


def test_a_lease_is_lowered_by_what_its_stored_calls_had_set_aside(
    used: CusIntegration, sdk: SdkClient
) -> None:
    (lease,) = CusEnforcementLease.objects.all()
    aside = {"cents": 3, "microcents": 2_000_000, "tokens": 900}
    assert sdk.report(record(lease_id=str(lease.id), reserved=aside)).status_code == 201

    lease.refresh_from_db()
    assert (lease.calls, lease.cents, lease.microcents, lease.tokens) == (3, 17, 18_000_000, 49_100)


def _return(lease: CusEnforcementLease, aside: int, left: int) -> None:
    """Return a lease by hand, with the same figure for each amount."""
    names = ("cents", "microcents", "tokens", "calls")
    changes = ", ".join(f"{one} = {left}, set_aside_{one} = {aside}" for one in names)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE cus_enforcement_leases SET {changes} WHERE id = %s", [lease.id])


def test_a_lease_is_lowered_once_by_what_its_holder_never_set_aside(used: CusIntegration) -> None:
    (lease,) = CusEnforcementLease.objects.all()
    with pytest.raises(DatabaseError, match="lowered by more"):
        _return(lease, aside=3, left=2)

    _return(lease, aside=3, left=3)

    with pytest.raises(DatabaseError, match="never changes"):
        _return(lease, aside=0, left=0)
    with pytest.raises(DatabaseError, match="lowered by more"):
        _return(lease, aside=3, left=0)
    with pytest.raises(DatabaseError, match="is not over yet"):
        lease.delete()


def test_a_returned_lease_whose_calls_have_landed_may_go(used: CusIntegration) -> None:
    (lease,) = CusEnforcementLease.objects.all()
    _return(lease, aside=0, left=0)

    assert sweep() == (0, 1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(leases), sum(leased_cents), sum(cents) FROM cus_hold_sums")
        assert cursor.fetchone() == (0, 0, 7)


def test_a_lease_begins_with_what_it_lends_whoever_makes_it(used: CusIntegration) -> None:
    made_up = CusEnforcementLease.objects.create(
        tenant_id=used.tenant_id, id=uuid7(), integration_id=used.id, holder_id="h",
        cents=1, microcents=2, tokens=3, calls=4, lent_cents=1_000, set_aside_cents=0,
        expires_at=timezone.now(),
    )  # fmt: skip
    made_up.refresh_from_db()

    assert (made_up.lent_cents, made_up.lent_microcents) == (1, 2)
    assert (made_up.lent_tokens, made_up.lent_calls) == (3, 4)
    assert made_up.set_aside_cents is None


def test_a_call_that_was_held_for_lowers_no_lease(used: CusIntegration, sdk: SdkClient) -> None:
    (lease,) = CusEnforcementLease.objects.all()
    aside = {"cents": 20, "microcents": 20_000_000, "tokens": 50_000}
    sent = record(call_id="runs", lease_id=str(lease.id), reserved=aside)
    assert sdk.report(sent).status_code == 201

    lease.refresh_from_db()
    assert (lease.calls, lease.cents) == (4, 20)
    assert not CusEnforcementHold.objects.exists()


def test_what_is_over_is_removed_by_whoever_sweeps(used: CusIntegration) -> None:
    as_if(
        "UPDATE cus_enforcement_holds SET expires_at = now()",
        "UPDATE cus_enforcement_leases SET expires_at = now()",
    )
    assert sweep() == (1, 1)


def _live(number: int, program: SdkClient) -> set[object]:
    """Do what a program does at random with a dozen calls; what it was answered."""
    choice = random.Random(number)
    answers: set[object] = set()
    for _ in range(25):
        name = f"call-{choice.randrange(12)}"
        match choice.randrange(4):
            case 0:
                sent = record(call_id=name, cost_cents=choice.randrange(9))
                answers.add(program.report(sent).status_code)
            case 1:
                sweep()
            case _:
                answer = program.check(name, estimated_cost_cents=choice.randrange(1, 50))
                answers.add(answer.json()["degraded"])
    connections.close_all()
    return answers


def test_kept_sums_are_those_of_the_rows_and_holds_at_every_commit() -> None:
    integrations = [make_integration() for _ in range(2)]
    integrations.append(make_integration(integrations[0].tenant))
    CusIntegration.objects.update(budget_limit_cents=10_000)
    programs = [SdkClient.of(one) for one in integrations for _ in range(2)]
    found: list[str] = []
    with (
        _superuser(str(connections["default"].settings_dict["NAME"])) as audit,
        ThreadPoolExecutor(len(programs)) as threads,
    ):
        living = [threads.submit(_live, *each) for each in enumerate(programs)]
        while not all(one.done() for one in living):
            found += findings(audit)
        found += findings(audit)

    assert not found
    # New, known, or known with other cents; and no check was answered without evidence.
    assert {answer for one in living for answer in one.result()} <= {201, 200, 409, False}
    assert CusEnforcementHold.objects.exists()
    assert CusLLMUsage.objects.exists()


def test_a_sibling_who_guesses_a_call_id_moves_none_of_our_money(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    sibling = SdkClient.of(make_integration(integration.tenant))
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=100)
    sdk.check("guessed", estimated_cost_cents=90)

    assert sibling.report(record(call_id="guessed", cost_cents=0)).status_code == 201
    assert sdk.check(estimated_cost_cents=20).json()["result"] == "blocked"
    assert sdk.report(record(call_id="guessed", cost_cents=90)).status_code == 201

    answer = sdk.check(estimated_cost_cents=20).json()
    assert (answer["result"], answer["reasons"][0]["current_value"]) == ("blocked", 90)


def test_understated_cents_leave_a_rounded_budget_no_room(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=60)
    sdk.report(record(tokens_in=200_000, tokens_out=0, cost_cents=0))  # 50 cents by our table

    row = CusLLMUsage.objects.get()
    assert (row.cost_cents, row.counted_cents) == (0, 50)
    assert sdk.check(estimated_cost_cents=11).json()["result"] == "blocked"
    assert sdk.check(estimated_cost_cents=10).json()["result"] == "warned"


def test_overstated_cents_count_as_reported(integration: CusIntegration, sdk: SdkClient) -> None:
    sdk.report(record(cost_cents=77))
    assert CusLLMUsage.objects.get().counted_cents == 77


def test_whatever_is_summed_is_guarded_and_audited() -> None:
    guards = importlib.import_module("telemetry.migrations.0013_cus_settlements")

    columns = {field.column for field in CusPeriodTotals._meta.concrete_fields if field.column}
    # Adjustments may lower what they correct; triggers write what is derived, ingest all else.
    columns -= {*guards.KEYS["cus_period_totals"], "correction_microcents"}
    assert columns == set(guards.SUMS) == SUMMED
    assert columns - CusPeriodTotals.DERIVED == set(store._SUMS)
