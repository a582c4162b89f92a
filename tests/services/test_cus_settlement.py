"""Totals, holds and leases change in the statement that stores a call's row (E8, F5, F5a)."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage, CusPeriodTotals
from telemetry.cus_evidence.store import _STORE
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease
from tests.cus_factories import SdkClient, make_integration, record

pytestmark = pytest.mark.django_db


def _hold(integration: CusIntegration, call_id: str, **values: Any) -> CusEnforcementHold:
    fields: dict[str, Any] = {
        "tenant_id": integration.tenant_id,
        "integration_id": integration.id,
        "call_id": call_id,
        "cents": 5,
        "microcents": 5_000_000,
        "tokens": 100,
        "taken_at": timezone.now() - timedelta(seconds=30),
        "expires_at": timezone.now() + timedelta(minutes=15),
    }
    return CusEnforcementHold.objects.create(**(fields | values))


def _lease(integration: CusIntegration, **values: Any) -> CusEnforcementLease:
    fields: dict[str, Any] = {
        "id": uuid.uuid4(),
        "tenant_id": integration.tenant_id,
        "integration_id": integration.id,
        "holder_id": "process",
        "cents": 100,
        "microcents": 100_000_000,
        "tokens": 10_000,
        "calls": 10,
        "taken_at": timezone.now() - timedelta(seconds=2),
        "expires_at": timezone.now() + timedelta(minutes=15),
    }
    return CusEnforcementLease.objects.create(**(fields | values))


def _left(lease: CusEnforcementLease) -> tuple[int, int, int, int]:
    lease.refresh_from_db()
    return lease.calls, lease.cents, lease.microcents, lease.tokens


def test_a_call_that_lands_ends_its_hold_and_no_other(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    hold = _hold(integration, "lands")
    _hold(integration, "still runs")
    _hold(make_integration(), "lands")

    sdk.report(record(call_id="lands"))

    assert not CusEnforcementHold.objects.filter(
        tenant_id=integration.tenant_id, call_id="lands"
    ).exists()
    assert CusEnforcementHold.objects.count() == 2
    assert CusLLMUsage.objects.get().admitted_at == hold.taken_at


def test_a_call_without_a_hold_was_admitted_by_nobody(sdk: SdkClient) -> None:
    sdk.report(record())

    assert CusLLMUsage.objects.get().admitted_at is None


def test_a_replay_ends_no_hold_that_was_taken_since(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sent = record(call_id="again")
    sdk.report(sent)
    _hold(integration, "again")

    sdk.report(sent)

    assert CusEnforcementHold.objects.count() == 1


def test_leased_calls_lower_their_lease_by_what_was_set_aside(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    lease = _lease(integration)
    aside = {"cents": 3, "microcents": 2_500_000, "tokens": 700}

    sdk.report_batch(
        record(lease_id=str(lease.id), reserved=aside),
        record(lease_id=str(lease.id), reserved=aside),
        record(lease_id=str(lease.id)),
        record(reserved=aside),
    )

    assert _left(lease) == (7, 94, 95_000_000, 8_600)
    leased = CusLLMUsage.objects.filter(lease_id=lease.id)
    assert {row.admitted_at for row in leased} == {lease.taken_at}


def test_a_replayed_leased_call_lowers_nothing_twice(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    lease = _lease(integration)
    sent = record(lease_id=str(lease.id), reserved={"cents": 3})

    sdk.report(sent)
    sdk.report(sent)

    assert _left(lease)[:2] == (9, 97)


def test_a_lease_is_never_lowered_below_nothing(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    lease = _lease(integration, calls=1)
    greedy = {"cents": 2**62, "microcents": 2**62, "tokens": 2**62}

    sdk.report_batch(
        *(record(lease_id=str(lease.id), reserved=greedy) for _ in range(4)),
    )

    assert _left(lease) == (0, 0, 0, 0)


def test_another_integrations_lease_is_not_touched(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sibling = _lease(make_integration(integration.tenant))
    stranger = _lease(make_integration())

    sdk.report_batch(
        record(lease_id=str(sibling.id), reserved={"cents": 9}),
        record(lease_id=str(stranger.id), reserved={"cents": 9}),
        record(lease_id=str(uuid.uuid4()), reserved={"cents": 9}),
    )

    assert _left(sibling) == _left(stranger) == (10, 100, 100_000_000, 10_000)
    assert CusLLMUsage.objects.filter(admitted_at=None).count() == 3


@pytest.mark.parametrize(
    "reserved", [{"cents": -1}, {"tokens": "5"}, {"microcents": 2**63}, "all of it", 5]
)
def test_what_is_no_reservation_is_dropped_and_the_call_stored(
    sdk: SdkClient, integration: CusIntegration, reserved: object
) -> None:
    lease = _lease(integration)

    assert sdk.report(record(lease_id=str(lease.id), reserved=reserved)).status_code == 201

    assert CusLLMUsage.objects.get().flags == ["dropped:reserved"]
    assert _left(lease) == (9, 100, 100_000_000, 10_000)


def test_a_months_total_is_of_the_month_of_receipt(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    last_month = datetime.now(UTC).replace(day=1) - timedelta(days=2)
    sdk.report(record(timestamp=last_month.isoformat(), tokens_cached=10))
    sdk.report(record(model="o1", error_code="x", tokens_reasoning=7))
    sdk.report(record(policy_result="blocked", tokens_in=0, tokens_out=0, cost_cents=0))

    totals = list(CusPeriodTotals.objects.all())
    assert {total.period for total in totals} == {datetime.now(UTC).date().replace(day=1)}
    assert sum(total.calls for total in totals) == 2
    assert sum(total.errors for total in totals) == 1
    assert sum(total.blocked for total in totals) == 1
    assert sum(total.tokens_cached for total in totals) == 10
    assert sum(total.tokens_reasoning for total in totals) == 7
    rows = CusLLMUsage.objects.all()
    for name in ("tokens_in", "tokens_out", "cost_cents", "cost_microcents"):
        assert sum(getattr(t, name) for t in totals) == sum(getattr(r, name) for r in rows), name
    assert {total.integration_id for total in totals} == {integration.id}


def test_a_batch_of_new_calls_is_stored_by_one_statement(
    sdk: SdkClient, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    sdk.report(record())  # the key and its tenant's prices are known from here on

    with django_assert_num_queries(1):
        sdk.report_batch(*(record() for _ in range(50)))


def test_what_was_not_new_takes_a_second_statement(
    sdk: SdkClient, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    sent = [record() for _ in range(50)]
    sdk.report_batch(*sent)

    with django_assert_num_queries(2):
        sdk.report_batch(*sent)


def test_the_decider_may_hold_and_lend_but_not_count() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)"
            " FROM information_schema.role_table_grants WHERE grantee = 'cus_decider'"
            " AND table_name IN ('cus_enforcement_holds', 'cus_enforcement_leases',"
            " 'cus_period_totals') GROUP BY 1"
        )
        granted = dict(cursor.fetchall())

    assert granted == {
        "cus_enforcement_holds": "INSERT SELECT UPDATE",
        "cus_enforcement_leases": "INSERT SELECT UPDATE",
        "cus_period_totals": "SELECT",
    }


def test_a_batch_asks_the_ledger_by_key_however_small_it_was_when_that_was_planned() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {_STORE}", {"tenant": uuid.uuid4(), "records": "[]"})
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert "using cus_call_ledger_pkey" in plan
    assert "Anti Join" not in plan
