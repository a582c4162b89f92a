"""Evidence can only be appended, by every role and every statement (ruling E5)."""

import contextlib
import uuid
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusCallLedger, CusLLMUsage
from telemetry.cus_evidence.partitions import existing_months
from tests.conftest import _superuser
from tests.cus_factories import SdkClient, make_integration, record

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

CHANGES = [
    "UPDATE {} SET tenant_id = tenant_id",
    "UPDATE {} SET tenant_id = gen_random_uuid() WHERE false",
    "DELETE FROM {}",
    "DELETE FROM ONLY {}",
    "TRUNCATE {}",
    "TRUNCATE {} CASCADE",
    "MERGE INTO {} USING (SELECT 1) AS one ON true WHEN MATCHED THEN DELETE",
]


@pytest.fixture(autouse=True)
def stored() -> CusLLMUsage:
    """One usage row, without which a DELETE could pass for refused."""
    SdkClient.of(make_integration()).report(record())
    return CusLLMUsage.objects.get()


def evidence_tables() -> list[str]:
    partitions = [month.partition for month in sorted(existing_months())]
    return ["cus_llm_usage", "cus_call_ledger", "cus_bypass_reports", *partitions]


def test_there_is_a_partition_for_the_past_this_and_the_next_three_months() -> None:
    assert len(evidence_tables()) == 3 + 5


@pytest.mark.parametrize("login", ["default", "owner"])
@pytest.mark.parametrize("change", CHANGES)
def test_no_login_changes_evidence_in_sql(login: str, change: str) -> None:
    for table in evidence_tables():
        with (
            pytest.raises(DatabaseError, match=r"is evidence|permission denied"),
            transaction.atomic(using=login),
            connections[login].cursor() as cursor,
        ):
            cursor.execute(change.format(table))

    assert CusLLMUsage.objects.count() == CusCallLedger.objects.count() == 1


@pytest.mark.parametrize("change", CHANGES)
def test_even_a_superuser_meets_the_triggers(change: str) -> None:
    with _superuser(connections["default"].settings_dict["NAME"]) as connection:
        for table in evidence_tables():
            with pytest.raises(psycopg.Error, match="is evidence"):
                connection.execute(change.format(table))

    assert CusLLMUsage.objects.count() == 1


@pytest.mark.parametrize("login", ["default", "owner"])
def test_the_orm_changes_no_evidence(stored: CusLLMUsage, login: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: CusLLMUsage.objects.using(login).update(cost_cents=0),
        lambda: CusLLMUsage.objects.using(login).all().delete(),
        lambda: CusLLMUsage.objects.using(login).all()._raw_delete(login),
        lambda: stored.save(using=login),
        lambda: stored.delete(using=login),
        lambda: CusLLMUsage.objects.using(login).bulk_update([stored], ["cost_cents"]),
        lambda: CusCallLedger.objects.using(login).all().delete(),
    ]
    for attempt in attempts:
        with pytest.raises(DatabaseError), transaction.atomic(using=login):
            attempt()

    assert CusLLMUsage.objects.get().cost_cents == stored.cost_cents


@pytest.mark.parametrize("login", ["default", "owner"])
@pytest.mark.parametrize("table", ["cus_tenants", "cus_integrations"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_no_cascade_reaches_evidence(login: str, table: str, change: str) -> None:
    with (
        pytest.raises(DatabaseError, match=r"never removed|permission denied"),
        transaction.atomic(using=login),
        connections[login].cursor() as cursor,
    ):
        cursor.execute(change.format(table))

    assert CusLLMUsage.objects.count() == 1


def test_the_orm_removes_no_tenant_and_no_integration(stored: CusLLMUsage) -> None:
    for model, key in (
        (CusIntegration, stored.integration_id),
        (CusTenant, stored.tenant_id),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            model.objects.filter(id=key)._raw_delete("default")

    assert CusIntegration.objects.filter(id=stored.integration_id).exists()


def test_a_detached_month_is_still_guarded() -> None:
    month = max(existing_months())
    with pytest.raises(DatabaseError, match="is evidence"), transaction.atomic(using="owner"):
        with connections["owner"].cursor() as cursor:
            cursor.execute(f"ALTER TABLE cus_llm_usage DETACH PARTITION {month.partition}")
            cursor.execute(f"DELETE FROM {month.partition}")


@pytest.mark.parametrize(
    "attempt",
    [
        "DROP TABLE {}",
        "ALTER TABLE {} DISABLE TRIGGER ALL",
        "DROP TRIGGER cus_append_only ON {}",
        "GRANT ALL ON {} TO CURRENT_USER",
        "SET session_replication_role = replica",
        "SET ROLE cus_owner",
        "CREATE TABLE stray (id uuid REFERENCES {})",
        "CREATE RULE stray AS ON INSERT TO {} DO INSTEAD NOTHING",
    ],
)
def test_the_application_cannot_take_the_guards_off(attempt: str) -> None:
    for table in evidence_tables():
        with contextlib.suppress(DatabaseError), transaction.atomic():
            with connections["default"].cursor() as cursor:
                cursor.execute(attempt.format(table))
        with pytest.raises(DatabaseError), transaction.atomic():
            with connections["default"].cursor() as cursor:
                cursor.execute(f"DELETE FROM {table}")

    assert CusLLMUsage.objects.count() == CusCallLedger.objects.count() == 1
    SdkClient.of(make_integration()).report(record())
    assert CusLLMUsage.objects.count() == CusCallLedger.objects.count() == 2


def test_the_decider_reads_evidence_and_no_analytics() -> None:
    with transaction.atomic(), connections["default"].cursor() as cursor:
        cursor.execute("SET LOCAL ROLE cus_decider")
        cursor.execute("SELECT count(*) FROM cus_llm_usage")
        assert cursor.fetchone() == (1,)
    for table in (
        "cus_usage_daily",
        "cus_usage_day_groups",
        "cus_usage_hourly",
        "cus_rollup_runs",
        "cus_credentials",
        "cus_users",
    ):
        with (
            pytest.raises(DatabaseError, match="permission denied"),
            transaction.atomic(),
            connections["default"].cursor() as cursor,
        ):
            cursor.execute("SET LOCAL ROLE cus_decider")
            cursor.execute(f"SELECT * FROM {table}")


def test_a_partition_made_later_is_guarded_like_the_first() -> None:
    from telemetry.cus_evidence.partitions import make_partitions

    later = timezone.now() + timedelta(days=200)
    made = make_partitions(later)
    try:
        for month in made:
            with (
                pytest.raises(DatabaseError, match="is evidence"),
                transaction.atomic(using="owner"),
                connections["owner"].cursor() as cursor,
            ):
                cursor.execute(f"UPDATE {month.partition} SET id = %s", [uuid.uuid4()])
    finally:
        with connections["owner"].cursor() as cursor:
            for month in made:
                cursor.execute(f"DROP TABLE {month.partition}")
    assert len(made) >= 4


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE cus_sdk_keys SET tenant_id = gen_random_uuid()",
        "UPDATE cus_sdk_keys SET secret_hash = '1'",
        "DELETE FROM cus_sdk_keys",
        "DELETE FROM cus_users",
        "UPDATE django_admin_log SET change_message = ''",
        "DELETE FROM django_admin_log",
        "UPDATE cus_price_overrides SET prices = '{}'",
        "UPDATE cus_display_rates SET rate = 1",
        "UPDATE cus_run_limit_counts SET live = 0",
        "DELETE FROM cus_kept_prices",
        "UPDATE cus_cost_adjustments SET difference_microcents = 0",
    ],
)
def test_the_application_may_do_no_more_than_it_needs(change: str) -> None:
    with (
        pytest.raises(DatabaseError, match="permission denied"),
        transaction.atomic(),
        connections["default"].cursor() as cursor,
    ):
        cursor.execute(change)
