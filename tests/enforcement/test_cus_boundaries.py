"""Enforcement decides by evidence and authority, never by analytics (§15.5, rulings E5, E8)."""

import re
import time
import uuid
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import connections
from django.utils import timezone

from enforcement.cus_decisions.log import PREPARED as LOG_PREPARED
from enforcement.cus_reading.absence import DatabaseTrouble
from enforcement.cus_reading.connection import DeciderConnection
from enforcement.cus_reading.decider import decider_pool
from enforcement.cus_reading.key_lookup import PREPARED as KEYS_PREPARED
from enforcement.cus_reading.known_models import PREPARED as MODELS_PREPARED
from integrations.cus_keys.verifier import forget_sdk_keys
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics import models
from telemetry.cus_holds.hold_changes import PREPARED as CHANGES_PREPARED
from telemetry.cus_holds.hold_changes import HoldChange, change_values
from telemetry.cus_holds.holds import PREPARED as HOLDS_PREPARED
from telemetry.cus_holds.leases import PREPARED as LEASES_PREPARED
from telemetry.cus_holds.leases import lending_values, release_values
from telemetry.cus_holds.limit_sums import PREPARED as RUNS_PREPARED
from telemetry.cus_money.amounts import Amounts, LeaseAmounts
from tests.conftest import _superuser
from tests.cus_factories import SdkClient

pytestmark = pytest.mark.django_db(transaction=True)


def _analytics() -> set[str]:
    return {
        model._meta.db_table
        for model in apps.get_app_config("telemetry").get_models()
        if model.__module__ == models.__name__
    }


def as_decider(work: Any) -> Any:
    """What work on a connection of the decider comes to; its errors are psycopg's."""
    until = time.monotonic() + 60
    try:
        return decider_pool().run(work, take_by=until, end_by=until)
    except DatabaseTrouble as trouble:
        raise trouble.__cause__ or trouble from None


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages that checks send to the database."""
    messages: list[str] = []
    rows = DeciderConnection.all_rows

    def listening(self: DeciderConnection, message: str) -> Any:
        messages.append(message)
        return rows(self, message)

    monkeypatch.setattr(DeciderConnection, "all_rows", listening)
    return messages


def test_there_are_analytics_to_keep_out() -> None:
    assert "cus_usage_daily" in _analytics()


def test_no_statement_of_a_check_names_an_analytics_table(
    sdk: SdkClient, integration: CusIntegration, sent: list[str]
) -> None:
    forget_sdk_keys()
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=1, rate_limit_rpm=5)
    sdk.check()
    assert sdk.check().json()["result"] == "blocked"
    sdk.client.get("/api/v1/cus/enforcement/status")
    wide = {"budget_limit_cents": 100, "rate_limit_rpm": 100}
    CusIntegration.objects.filter(id=integration.id).update(**wide)
    assert sdk.lease().json()["lease_id"]

    prepared = (
        *(*HOLDS_PREPARED, *CHANGES_PREPARED, *LEASES_PREPARED, *RUNS_PREPARED),
        *(*LOG_PREPARED, *KEYS_PREPARED, *MODELS_PREPARED),
    )
    text = " ".join([*sent, *prepared])
    executed = set(re.findall(r"EXECUTE (\w+)", " ".join(sent)))
    assert executed >= {
        *("cus_find_key", "cus_read", "cus_change_holds", "cus_append", "cus_count"),
        *("cus_release_leases", "cus_read_lending", "cus_lend"),
    }
    assert executed <= set(re.findall(r"PREPARE (\w+)", text))
    for table in _analytics():
        assert table not in text


def test_every_connection_decides_as_the_role_that_cannot_read_analytics(db: None) -> None:
    assert as_decider(lambda one: one.rows("SELECT current_user")) == [b"cus_decider"]
    for table in (*_analytics(), "cus_credentials", "cus_users"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_decider(lambda one, name=table: one.rows(f"SELECT 1 FROM {name} LIMIT 1"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cus_llm_usage SET cost_cents = 0",
        "INSERT INTO cus_call_ledger DEFAULT VALUES",
        "UPDATE cus_period_totals SET cost_cents = 0",
        "UPDATE cus_integrations SET budget_limit_cents = 0",
        "DELETE FROM cus_enforcement_decisions",
        "DELETE FROM cus_enforcement_holds",
        "DELETE FROM cus_enforcement_leases",
        "UPDATE cus_hold_sums SET cents = 0",
        "UPDATE cus_enforcement_decisions SET result = 'allowed'",
        "SELECT last_used_at FROM cus_sdk_keys",
    ],
)
def test_the_decider_changes_nothing_but_holds_leases_and_its_own_log(statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_decider(lambda one: one.rows(statement))


def test_a_check_is_two_messages_to_the_database(sdk: SdkClient, sent: list[str]) -> None:
    sdk.check()  # the key is known from here on
    sent.clear()
    sdk.check()

    assert len(sent) == 2
    assert sent[0].index("pg_advisory_xact_lock") < sent[0].index("EXECUTE cus_read")


def test_no_check_waits_for_its_plan_to_be_compiled(db: None) -> None:
    assert as_decider(lambda one: one.rows("SHOW jit")) == [b"off"]


def test_the_decision_log_is_append_only_month_by_month(integration: CusIntegration) -> None:
    with _superuser(str(connections["default"].settings_dict["NAME"])) as connection:
        tables = connection.execute(
            "SELECT 'cus_enforcement_decisions' UNION ALL SELECT inhrelid::regclass::text"
            " FROM pg_inherits WHERE inhparent = 'cus_enforcement_decisions'::regclass"
        ).fetchall()
        assert len(tables) == 1 + 5
        for (table,) in tables:
            for change in ("DELETE FROM {}", "UPDATE {} SET call_id = ''", "TRUNCATE {}"):
                with pytest.raises(psycopg.Error, match="is evidence"):
                    connection.execute(change.format(table).encode())


def test_holds_are_changed_by_their_keys_however_small_the_tables_were_when_that_was_planned(
    integration: CusIntegration,
) -> None:
    """Else a plan of a process' first minute would read a whole ledger for each check."""
    change = {name: HoldChange(Amounts(1, 1, 1), renews=name == "held") for name in ("held", "new")}
    values = change_values(integration.tenant_id, integration.id, change, timezone.now())

    def plan(connection: DeciderConnection) -> str:
        rows = connection.rows(f"EXPLAIN {connection.call('cus_change_holds', *values)}")
        return b"\n".join(row or b"" for row in rows).decode()

    with _superuser(str(connections["default"].settings_dict["NAME"])) as superuser:
        # Many holds came and went, so that the key's index has more levels than the others.
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(
            "INSERT INTO cus_enforcement_holds (tenant_id, integration_id, call_id, cents, microcents,"
            " tokens, expires_at) SELECT %s, %s, 'gone-' || number, 1, 1, 1, now()"
            " FROM generate_series(1, 3000) AS number",
            [integration.tenant_id, integration.id],
        )
        superuser.execute("DELETE FROM cus_enforcement_holds")
        superuser.execute("ANALYZE cus_call_ledger, cus_enforcement_holds")
    found = as_decider(plan)

    assert found.count("using cus_enforcement_holds_pkey") == 2
    assert "using cus_call_ledger_pkey" in found
    assert "cus_holds_taken" not in found
    assert "Anti Join" not in found


def test_leases_are_found_by_their_keys_however_small_the_tables_were_when_that_was_planned(
    integration: CusIntegration,
) -> None:
    whose = (integration.tenant_id, integration.id)
    release = release_values(*whose, {uuid.uuid4(): LeaseAmounts()}, running=["runs"])
    lending = lending_values(*whose, "holder", None)

    def plan(connection: DeciderConnection) -> str:
        calls = (("cus_release_leases", release), ("cus_read_lending", lending))
        rows = [
            row or b""
            for name, values in calls
            for row in connection.rows(f"EXPLAIN {connection.call(name, *values)}")
        ]
        return b"\n".join(rows).decode()

    with _superuser(str(connections["default"].settings_dict["NAME"])) as superuser:
        # As for holds: the key's index has more levels than the others.
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(
            "INSERT INTO cus_enforcement_leases (tenant_id, id, integration_id, holder_id, cents,"
            " microcents, tokens, calls, expires_at) SELECT %s, gen_random_uuid(), %s, 'gone', 0, 0,"
            " 0, 0, now() FROM generate_series(1, 3000)",
            [*whose],
        )
        superuser.execute("DELETE FROM cus_enforcement_leases")
        superuser.execute("ANALYZE cus_enforcement_leases, cus_enforcement_holds")
    found = as_decider(plan)

    # To lock, to change, and to see whether there is such a lease; then the holders of late.
    assert found.count("using cus_enforcement_leases_pkey") == 3
    assert found.count("using cus_leases_taken") == 2
    assert found.count("using cus_enforcement_holds_pkey") == 3
    assert "Seq Scan" not in found
    # By whole keys: else renewing one hold would read all that an integration has.
    for table, key in (("holds", "call_id"), ("leases", "(id = ")):
        conditions = re.findall(rf"using cus_enforcement_{table}_pkey.*\n *Index Cond: (.*)", found)
        assert [one for one in conditions if key not in one] == []
