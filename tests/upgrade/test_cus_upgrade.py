"""A database and a spool of each earlier release come up with everything as it was (ruling E1a)."""

import gzip
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from pytest_django import DjangoDbBlocker
from pytest_django.live_server_helper import LiveServer

from aos_sdk import CusReporter, CusUsageRecord
from aos_sdk.cus_connection import CusConnection
from aos_sdk.cus_spool import CusSpool
from enforcement.cus_decisions.explain import explain
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_reading.decider import close_decider_pool
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.lookup import counted_cents
from telemetry.cus_evidence.models import (
    CusCallLedger,
    CusDroppedMonth,
    CusLLMUsage,
    CusPeriodTotals,
)
from telemetry.cus_holds.models import CusEnforcementLease, CusHoldSums
from tests.cus_factories import SdkClient, record, set_aside
from tests.cus_postgres_programs import binaries, reached_by
from tests.trust.cus_audit import holds_findings
from tests.upgrade.cus_make_release import RELEASES

NAMES = sorted(path.name for path in RELEASES.iterdir())
_AS_IF_TAKEN_JUST_NOW = "UPDATE public.cus_enforcement_holds SET taken_at = now(), expires_at = now() + interval '10 minutes';"
# No release before leases gave one, but its tables take one.
_WITH_A_LEASE = """
INSERT INTO public.cus_enforcement_leases (tenant_id, id, integration_id, holder_id, cents,
    microcents, tokens, calls, taken_at, expires_at)
SELECT DISTINCT tenant_id, integration_id, integration_id, 'holder', 3, 2000000, 50, 1, now(),
    now() + interval '10 minutes'
FROM public.cus_enforcement_holds;
"""


@pytest.fixture(scope="module", params=NAMES)
def release(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[dict[str, Any]]:
    """A release's database, migrated by this code, in place of the tests' own; and its facts."""
    folder = RELEASES / request.param
    facts = json.loads((folder / "facts.json").read_text()) | {"folder": folder}
    name = f"upgraded_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    usual = str(connections["default"].settings_dict["NAME"])
    with pytest.MonkeyPatch.context() as patch, django_db_blocker.unblock():
        for secret, value in facts["secrets"].items():
            patch.setattr(settings, secret, value)
        _restore(name, folder / "database.sql.gz")
        _use(name)
        try:
            call_command("migrate", verbosity=0, interactive=False)
            yield facts
        finally:
            _use(usual)


def _restore(name: str, dump: Path) -> None:
    with psycopg.connect(os.environ["CUS_SUPERUSER_URL"], autocommit=True) as connection:
        owner = str(settings.DATABASES["owner"]["USER"])
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"'.encode())
        connection.execute(f'CREATE DATABASE "{name}" OWNER "{owner}"'.encode())
        where, environment = reached_by(connection)
    command = [str(binaries() / "psql"), "-q", "-X", "-v", "ON_ERROR_STOP=1", *where, name]
    text = gzip.decompress(dump.read_bytes()) + (_AS_IF_TAKEN_JUST_NOW + _WITH_A_LEASE).encode()
    subprocess.run(command, input=text, env=environment, check=True, stdout=subprocess.DEVNULL)


def _use(name: str) -> None:
    close_decider_pool()
    connections.close_all()
    for alias in connections:
        connections[alias].settings_dict["NAME"] = name


@pytest.fixture(autouse=True)
def _unblocked(release: dict[str, Any], django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """What one test changes the next one sees: they stand in the order of a release's first day."""
    with django_db_blocker.unblock():
        yield


def _sums() -> list[list[Any]]:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT integration_id::text, to_char(period, 'YYYY-MM'), sum(calls)::bigint,"
            " sum(tokens_in)::bigint, sum(tokens_out)::bigint, sum(cost_cents)::bigint,"
            " sum(cost_microcents)::bigint, sum(correction_microcents)::bigint"
            " FROM cus_period_totals GROUP BY 1, 2 ORDER BY 1, 2"
        )
        return [list(row) for row in cursor.fetchall()]


def test_rows_ledger_keys_prices_and_totals_are_as_they_were(release: dict[str, Any]) -> None:
    tables = {
        "rows": "cus_llm_usage",
        "ledger": "cus_call_ledger",
        "holds": "cus_enforcement_holds",
        "decisions": "cus_enforcement_decisions",
        "overrides": "cus_price_overrides",
        "keys": "cus_sdk_keys",
    }
    with connections["default"].cursor() as cursor:
        for name, table in tables.items():
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone()[0] == release["counts"][name], name
    assert _sums() == release["totals"]


def test_the_ledger_names_the_integration_or_any_where_the_month_was_dropped(
    release: dict[str, Any],
) -> None:
    entries = dict(CusCallLedger.objects.values_list("usage_id", "integration_id"))
    rows = dict(CusLLMUsage.objects.values_list("id", "integration_id"))
    assert {usage: entries[usage] for usage in rows} == rows
    dropped = [whose for usage, whose in entries.items() if usage not in rows]
    assert dropped == [CusCallLedger.ANY_INTEGRATION] * len(release["dropped"])


def test_the_month_that_was_dropped_is_noted_as_dropped(release: dict[str, Any]) -> None:
    with_rows = {f"{row.created_at:%Y-%m}" for row in CusLLMUsage.objects.all()}
    of_totals = {f"{total.period:%Y-%m}" for total in CusPeriodTotals.objects.all()}
    noted = [f"{month.month:%Y-%m}" for month in CusDroppedMonth.objects.exclude(dropped_at=None)]
    assert noted == sorted(of_totals - with_rows)
    assert len(noted) == 1


def test_months_count_the_greater_of_reported_and_own_cents(release: dict[str, Any]) -> None:
    by_row: dict[str, int] = {}
    for row in CusLLMUsage.objects.all():
        key = f"{row.integration_id} {row.created_at:%Y-%m}"
        by_row[key] = by_row.get(key, 0) + counted_cents(row)
    by_month: dict[str, int] = {}
    for total in CusPeriodTotals.objects.all():
        key = f"{total.integration_id} {total.period:%Y-%m}"
        by_month[key] = by_month.get(key, 0) + total.counted_cents
    assert {key: by_month[key] for key in by_row} == by_row
    # Of the month that was dropped there is nothing but its total.
    assert {key: cents for key, cents in by_month.items() if key not in by_row} == {
        f"{whose} {month}": cents
        for whose, month, _, _, _, cents, *_ in release["totals"]
        if f"{whose} {month}" not in by_row
    }
    cheap = CusLLMUsage.objects.get(call_id="cheap")
    assert (cheap.cost_cents, counted_cents(cheap)) == (0, 51)


def test_every_replay_is_a_duplicate_and_changes_no_total(release: dict[str, Any]) -> None:
    programs = {name: SdkClient(key) for name, key in release["keys"].items()}
    before = _sums()
    for sent in [*release["dropped"], *release["reports"]]:
        answer = programs[sent["integration"]].report(sent["record"])
        assert (answer.status_code, answer.json()["status"]) == (200, "duplicate"), sent
    assert _sums() == before == release["totals"]


def test_a_call_of_the_dropped_month_is_no_siblings_to_report_again(
    release: dict[str, Any],
) -> None:
    sibling = SdkClient(release["keys"][release["second"]])
    assert sibling.report(release["dropped"][0]["record"]).status_code == 409


def test_live_holds_count_and_are_settled_by_their_own_integration(
    release: dict[str, Any],
) -> None:
    held = {
        str(one.integration_id): (one.calls, int(one.cents)) for one in CusHoldSums.objects.all()
    }
    assert held == {release["first"]: (2, 18), release["second"]: (1, 5)}
    sibling = SdkClient(release["keys"][release["second"]])
    assert sibling.report(record(call_id="held-1")).status_code == 201
    first = SdkClient(release["keys"][release["first"]])
    integration = CusIntegration.objects.get(id=release["first"])
    assert first.check("held-1", estimated_cost_cents=7).json()["result"] == "allowed"
    assert first.report(record(call_id="held-1", cost_cents=7)).status_code == 201
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT sum(calls), sum(cents) FROM cus_hold_sums WHERE integration_id = %s",
            [integration.id],
        )
        assert cursor.fetchone() == (1, 11)


def test_a_live_lease_counts_as_lent_with_what_it_has(release: dict[str, Any]) -> None:
    leases = {str(one.id): one for one in CusEnforcementLease.objects.all()}
    assert leases.keys() == {release["first"], release["second"]}
    for one in leases.values():
        assert (one.lent_cents, one.lent_microcents, one.lent_tokens) == (3, 2_000_000, 50)
        assert (one.lent_calls, one.set_aside_cents, one.is_young) == (1, None, False)
    program = SdkClient(release["keys"][release["first"]])
    assert program.end_lease(release["first"], set_aside()).json()["returned"]
    assert CusEnforcementLease.objects.get(id=release["first"]).cents == 0


def test_decisions_explain_themselves_as_before(release: dict[str, Any]) -> None:
    decisions = list(CusEnforcementDecision.objects.filter(call_id="refused"))
    assert [explain(one).verdict for one in decisions] == ["identical"]


def test_records_that_the_release_had_not_sent_arrive_once(
    release: dict[str, Any], tmp_path: Path
) -> None:
    key = release["spooled"]["key"]
    server = LiveServer("127.0.0.1")
    spool = CusSpool(str(tmp_path), CusConnection.resolve(key, server.url))
    with tarfile.open(release["folder"] / "spool.tar.gz") as archive:
        # SDK 0.1.0 named its folders by the server's address, too.
        archive.extractall(spool.former[0], filter="data")
    reporter = CusReporter(key, server.url, spool_dir=str(tmp_path))
    try:
        reporter.report(CusUsageRecord("own", "gpt-4o", tokens_in=1, tokens_out=1))
        deadline = time.monotonic() + 60
        arrived = CusLLMUsage.objects.filter(call_id__in=release["spooled"]["call_ids"])
        while arrived.count() < 5 and time.monotonic() < deadline:
            reporter.flush(1.0)
            time.sleep(0.05)
        assert sorted(arrived.values_list("call_id", flat=True)) == release["spooled"]["call_ids"]
    finally:
        reporter.shutdown(5.0)
        server.stop()


def test_at_the_end_of_the_day_the_sums_of_holds_are_those_of_the_holds(
    release: dict[str, Any],
) -> None:
    name = str(connections["default"].settings_dict["NAME"])
    with psycopg.connect(os.environ["CUS_SUPERUSER_URL"], dbname=name, autocommit=True) as one:
        assert holds_findings(one) == []


# Delays the filling of the months' totals as long as a test holds that lock.
_SLOW_FILL = """
CREATE FUNCTION public.cus_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$;
CREATE TRIGGER cus_wait BEFORE UPDATE ON public.cus_period_totals
    FOR EACH STATEMENT EXECUTE FUNCTION public.cus_wait();
"""
_WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
_FILLED = "SELECT convalidated FROM pg_constraint WHERE conname = 'cus_llm_usage_counted' AND conrelid = 'public.cus_llm_usage'::regclass"


def test_programs_read_evidence_while_counted_cents_are_filled(release: dict[str, Any]) -> None:
    usual = str(connections["default"].settings_dict["NAME"])
    name = f"{usual}_filling"
    _restore(name, release["folder"] / "database.sql.gz")
    with (
        psycopg.connect(os.environ["CUS_SUPERUSER_URL"], dbname=name, autocommit=True) as one,
        ThreadPoolExecutor(1) as pool,
    ):
        one.execute(_SLOW_FILL)
        one.execute("SELECT pg_advisory_lock(7)")
        _use(name)
        try:
            migrating = pool.submit(_migrate)
            _wait_for(lambda: one.execute(_WAITS).fetchone() == (1,) or migrating.done())
            one.execute("SET lock_timeout = '1s'")
            for table in ("cus_llm_usage", "cus_period_totals", "cus_lifetime_totals"):
                one.execute(f"SELECT count(*) FROM public.{table}".encode())
            one.execute("SELECT pg_advisory_unlock(7)")
            migrating.result(60)
            assert one.execute(_FILLED).fetchone() == (True,)
        finally:
            one.execute("SELECT pg_advisory_unlock_all()")
            _use(usual)


def _migrate() -> None:
    try:
        call_command("migrate", verbosity=0, interactive=False)
    finally:
        connections.close_all()


def _wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
