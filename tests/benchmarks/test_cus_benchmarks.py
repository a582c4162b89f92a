"""What the benchmarks' figures rest on. How fast anything is, no test says."""

import dataclasses
import uuid
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from benchmarks import cus_enforcement, cus_growth, cus_ingest
from benchmarks.cus_copy_floor import FLOOR, copy_in, copy_rows, copy_text, make_floor
from benchmarks.cus_databases import Sender, month_start, new_database, new_sender, totals_tables
from benchmarks.cus_fill import fill_past_year, fill_this_month
from benchmarks.cus_loading import Refused, put_load
from benchmarks.cus_rounds import Contestant, contest, percentile, ratio
from benchmarks.cus_served import PLAIN_DRF, PRODUCT, served
from benchmarks.cus_sizes import TINY
from benchmarks.cus_targets import Target
from benchmarks.cus_totals import check, read_totals, sum_rows
from benchmarks.cus_traffic import call_ids, row_batches
from enforcement.cus_reading.decider import close_decider_pool
from telemetry.cus_evidence.evidence_row import EvidenceRow
from telemetry.cus_evidence.partitions import TABLE
from telemetry.cus_evidence.store import store_batch
from telemetry.cus_ids import hash_call_id
from tests.conftest import cleaner

SIZES = dataclasses.replace(TINY, filled_rows=1_200, turns={1: 2, 50: 1, 500: 1}, growth_turn=1)


@pytest.fixture(scope="module", autouse=True)
def _own_databases(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A copy of the tests' database stands for the one that a run prepares: what the
    benchmarks make, in it and beside it, no other test meets."""
    tests = connections.settings["default"]["NAME"]
    close_decider_pool()  # or it could not be copied
    cleaner.close()
    with django_db_blocker.unblock():
        _use(new_database(f"{tests}_bench"))
        yield
        for alias in set(connections) - {"default", "owner"}:
            connections[alias].close()
            del connections[alias]
            del connections.settings[alias]
        _use(tests)


def _use(name: str) -> None:
    connections.close_all()
    for alias in ("default", "owner"):
        connections.settings[alias]["NAME"] = name


@pytest.fixture(scope="module")
def sender(_own_databases: None) -> Sender:
    return new_sender()


@pytest.fixture
def database(request: pytest.FixtureRequest, sender: Sender) -> str:
    return new_database(f"bench_{zlib.crc32(request.node.name.encode())}")


@pytest.fixture
def floor(database: str) -> Iterator[None]:
    """What this process stores goes to a database with a floor; others are not copied from it."""
    prepared = connections.settings["default"]["NAME"]
    _use(database)
    make_floor("default")
    yield
    _use(prepared)


def _select(database: str, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connections[database].cursor() as cursor:
        cursor.execute(query, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _rows(sender: Sender) -> list[EvidenceRow]:
    (rows,) = row_batches(sender, call_ids(), size=3, number=1)
    rows[0].error_message = 'a tab\t, a line\n, a back\\slash, "quotes", \\N and é'
    rows[1].metadata = {"said": 'a tab\t and a "quote"'}
    return rows


def test_the_floor_has_the_indexes_and_checks_of_the_usage_table(floor: None) -> None:
    constraints = (
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = %s::regclass AND contype <> 'n' ORDER BY 1"
    )
    indexes = (
        "SELECT split_part(pg_get_indexdef(indexrelid), ' USING ', 2) FROM pg_index"
        " WHERE indrelid = %s::regclass ORDER BY 1"
    )
    for query in (constraints, indexes):
        assert _select("default", query, [FLOOR]) == _select("default", query, [TABLE])
        assert _select("default", query, [TABLE])


@pytest.mark.parametrize("encoded", [True, False], ids=["text", "rows"])
def test_copy_stores_what_the_statement_stores(
    floor: None, sender: Sender, *, encoded: bool
) -> None:
    rows, tenant_id = _rows(sender), sender.principal.tenant_id

    store_batch(tenant_id, rows)
    if encoded:
        copy_in(copy_text(tenant_id, rows))
    else:
        copy_rows(tenant_id, rows)

    stored = "SELECT to_jsonb(s) - 'created_at' FROM {} AS s WHERE call_id = ANY(%s) ORDER BY id"
    calls = [[row.call_id for row in rows]]
    found = [_select("default", stored.format(table), calls) for table in (FLOOR, TABLE)]
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_filled_rows_are_shared_out_and_their_totals_are_their_sum(sender: Sender) -> None:
    filled = fill_this_month("bench_test_filled", SIZES, sender)

    assert [rows for _, rows in filled.integrations] == [100, 100, 1_000]
    tables = totals_tables(filled.database)
    assert "cus_lifetime_totals" in tables
    for integration_id, rows in filled.integrations:
        who = {"tenant": filled.tenant_id, "integration": integration_id}
        assert (
            len(
                _select(
                    filled.database,
                    f"SELECT FROM {TABLE} WHERE integration_id = %s",
                    [integration_id],
                )
            )
            == rows
        )
        for table in tables:
            assert read_totals(filled.database, table, who) == sum_rows(filled.database, who)


def test_the_ledger_knows_filled_rows_as_it_knows_reported_ones(sender: Sender) -> None:
    filled = fill_this_month("bench_test_ledger", SIZES, sender)

    calls = _select(filled.database, f"SELECT call_id, id, created_at FROM {TABLE}")
    ledger = "SELECT call_hash, usage_id, usage_created_at FROM cus_call_ledger"
    expected = {(uuid.UUID(hash_call_id(call_id)), row_id, at) for call_id, row_id, at in calls}
    assert set(_select(filled.database, ledger)) == expected


def test_the_thirteenth_month_is_empty_and_the_twelve_before_are_not(sender: Sender) -> None:
    database = fill_past_year("bench_test_year", SIZES, sender)

    months = _select(
        database,
        f"SELECT date_trunc('month', created_at), count(*) FROM {TABLE} GROUP BY 1 ORDER BY 1",
    )
    assert len(months) == 12
    assert sum(count for _, count in months) == SIZES.filled_rows
    assert months[-1][0] < month_start(timezone.now())


def test_a_contest_gives_everybody_a_turn_in_each_round_and_the_first_is_not_counted() -> None:
    turns: list[str] = []

    def turn(name: str) -> float:
        turns.append(name)
        return len(turns)

    contestants = [Contestant(name, partial(turn, name)) for name in "ab"]

    seconds = contest(contestants, rounds=3)

    assert turns == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert seconds == {"a": [4, 5, 8], "b": [3, 6, 7]}


def test_ratios_are_those_within_the_rounds() -> None:
    assert ratio([1, 10, 100], [2, 5, 50]) == 2


@pytest.mark.parametrize(("share", "expected"), [(0, 1), (0.5, 51), (0.99, 100), (1, 100)])
def test_a_percentile_is_a_measured_value(share: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_a_target_says_whether_it_is_reached() -> None:
    assert Target(0.6, "x").verdict(0.6) == "≥ 0.6 x: [green]reached[/]"
    assert Target(1_000, "/s").verdict(999) == "≥ 1,000 /s: [red]NOT reached[/]"
    assert "NOT" not in Target(0.3, "ms", at_least=False).verdict(0.2)
    assert "NOT" in Target(0.3, "ms", at_least=False).verdict(0.4)


def test_a_target_about_many_rows_is_not_reached_over_few() -> None:
    target = Target(1.7, "x", at_least=False, rows=1_000)

    assert target.verdict(1.5, rows=10) == "≤ 1.7 x at 1,000 rows"
    assert "reached" in target.verdict(1.5, rows=1_000)


def test_the_databases_contests_run_and_their_totals_are_checked(
    database: str, sender: Sender
) -> None:
    figures = cus_ingest.measure(SIZES, sender)
    growth = cus_growth.measure(SIZES, sender, fresh=database, filled=database, thirteenth=database)

    assert [row[0] for row in figures.rows] == ["1", "50", "500"]
    assert len(growth.rows) == 2
    check(database, sender.principal)


@pytest.mark.parametrize("application", [PRODUCT, PLAIN_DRF])
def test_both_servers_store_every_event_that_they_acknowledge(
    application: str, database: str, sender: Sender
) -> None:
    with served(application, database) as port:
        loads = [put_load(port, sender, batch=batch, seconds=0.2) for batch in (1, 50)]
        stranger = dataclasses.replace(sender, key=sender.key[:-1])
        with pytest.raises(Refused):
            put_load(port, stranger, batch=1, seconds=0.1)

    acknowledged = sum(load.events for load in loads)
    assert _select(database, f"SELECT count(*) FROM {TABLE}") == [(acknowledged,)]
    assert acknowledged > 0


def test_checks_are_measured_on_one_integration_and_on_a_hundred(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cus_enforcement, "CALLERS", (1, 8))
    monkeypatch.setattr(cus_enforcement, "_TURNS", 1)
    sizes = dataclasses.replace(TINY, checked_rows=1_200, check_seconds=0.25)

    section = cus_enforcement.measure(sizes, sender)

    assert [row[:2] for row in section.rows] == [
        [keys, callers] for keys in ("1", "100") for callers in ("1", "8", "8, half load")
    ]
    assert all(float(row[2].replace(",", "")) > 0 for row in section.rows)
    assert sum("This machine, idle" in note for note in section.notes) == 2
