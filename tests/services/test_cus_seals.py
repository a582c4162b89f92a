"""Sealed evidence can be proven: whatever is changed later, verification names the day."""

import hmac
import io
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, connections, transaction
from django.db.backends.utils import CursorWrapper
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant
from telemetry.cus_clock import database_now
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_evidence.models import CusLLMUsage, CusUsageSettlement
from telemetry.cus_seals import canonical_form, service
from telemetry.cus_seals.canonical_form import FORMS, NEWEST, CanonicalForm, Kind
from telemetry.cus_seals.keys import SealKeys
from telemetry.cus_seals.models import CusEvidenceSeal
from telemetry.cus_seals.service import CusSealService, last_closed_day, seal_all
from telemetry.cus_seals.verification import CusSealVerifier
from telemetry.tasks import cus_seal_evidence
from tests.conftest import _superuser, as_if
from tests.cus_factories import SdkClient, make_tenant

pytestmark = pytest.mark.django_db(transaction=True)

# The days of `chain`, counted back from the day that is not closed.
_FIRST, _EMPTY, _CORRECTED, _LAST = 4, 3, 2, 1
_BY_COMMANDS = (
    "telemetry.tasks",
    "telemetry.management.commands.cus_evidence_seal",
    "telemetry.management.commands.cus_evidence_verify",
)


@pytest.fixture(autouse=True)
def noon(db: None, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """It is noon (UTC), whenever the tests run: yesterday is closed and due."""
    moment = database_now().astimezone(UTC).replace(hour=12, minute=0)
    for module in _BY_COMMANDS:
        monkeypatch.setattr(f"{module}.database_now", lambda: moment)
    return moment


def _call(tenant: CusTenant, received: datetime, call_id: str = "call") -> str:
    """The statement that adds a call past all of our code."""
    return _insert(
        "cus_llm_usage",
        received,
        tenant_id=tenant.id,
        call_id=call_id,
        provider="openai",
        pricing="table",
        **_USED,
    )


def _insert(table: str, received: datetime, **values: Any) -> str:
    moments = {"created_at": received, "occurred_at": received}
    columns = {"id": uuid.uuid4(), "integration_id": uuid.UUID(int=1)} | moments | values
    written = ", ".join(f"'{value}'" for value in columns.values())
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({written})"


_USED = {
    "model": "gpt-4o", "tokens_in": 1, "tokens_out": 1, "cost_cents": 1, "cost_microcents": 1,
}  # fmt: skip


@pytest.fixture
def chain(tenant: CusTenant, noon: datetime) -> list[CusEvidenceSeal]:
    """Four sealed days: two calls; nothing; a settlement and an adjustment; nothing."""
    first, corrected = noon - timedelta(days=_FIRST), noon - timedelta(days=_CORRECTED)
    named = {"tenant_id": tenant.id, "usage_id": uuid.UUID(int=2), "usage_created_at": first}
    settled = {"call_id": "b", "counted_cents": 1, "pricing": "table", "flags": "[]"}
    adjusted = {"number": 1, "new_price_id": uuid.UUID(int=3), "new_version": "2"}
    as_if(
        _call(tenant, first, "a"),
        _call(tenant, first, "b"),
        _insert("cus_usage_settlements", corrected, **named, **_USED, **settled),
        _insert("cus_cost_adjustments", corrected, difference_microcents=-7, **named, **adjusted),
    )
    return _sealed(noon)


def _sealed(noon: datetime) -> list[CusEvidenceSeal]:
    return [outcome.seal for outcome in seal_all(noon) if outcome.seal]


def _faults(tenant: CusTenant, noon: datetime) -> dict[date, list[str]]:
    """What verification finds, by day."""
    days = list(CusSealVerifier(tenant.id, noon).days())
    return {day.day: day.faults for day in days if day.faults}


@pytest.fixture
def faults_after(
    chain: list[CusEvidenceSeal], tenant: CusTenant, noon: datetime
) -> Iterator[Callable[[str], dict[int, list[str]]]]:
    """What verification finds after a change that is then undone, by the day's place in the chain."""
    tables = (
        "cus_llm_usage",
        "cus_usage_settlements",
        "cus_cost_adjustments",
        "cus_evidence_seals",
    )
    days = [seal.day for seal in chain]
    with _superuser(str(connections["default"].settings_dict["NAME"])) as database:
        database.execute("SET session_replication_role = replica")
        for table in tables:
            database.execute(f"CREATE TEMP TABLE was_{table} AS SELECT * FROM {table}".encode())

        def found(change: str) -> dict[int, list[str]]:
            database.execute(change.encode())
            faults = _faults(tenant, noon)
            for table in tables:
                database.execute(f"DELETE FROM {table}".encode())
                database.execute(f"INSERT INTO {table} SELECT * FROM was_{table}".encode())
            return {days.index(day): texts for day, texts in faults.items()}

        yield found


def _run(command: str, *arguments: str) -> str:
    output = io.StringIO()
    call_command(command, *arguments, stdout=output, stderr=output)
    return output.getvalue()


def _told(*arguments: str) -> str:
    """What `cus_evidence_verify` tells of faults."""
    output = io.StringIO()
    with pytest.raises(CommandError, match="not as they were sealed"):
        call_command("cus_evidence_verify", *arguments, stdout=output)
    return output.getvalue()


def test_every_day_from_the_first_evidence_to_yesterday_is_sealed_and_chained(
    chain: list[CusEvidenceSeal], noon: datetime
) -> None:
    assert [seal.day for seal in chain] == [
        (noon - timedelta(days=ago)).date() for ago in (_FIRST, _EMPTY, _CORRECTED, _LAST)
    ]
    assert [(seal.rows, seal.settlements, seal.adjustments) for seal in chain] == [
        (2, 0, 0), (0, 0, 0), (0, 1, 1), (0, 0, 0),
    ]  # fmt: skip
    assert [seal.previous for seal in chain] == [
        CusEvidenceSeal.START,
        *(seal.digest for seal in chain[:-1]),
    ]
    assert len({seal.digest for seal in chain}) == len(chain)
    assert _sealed(noon) == []


def test_unchanged_evidence_verifies(chain: list[CusEvidenceSeal]) -> None:
    told = _run("cus_evidence_verify")

    assert "4 days compared with their seals, 0 with faults." in told
    assert f"3 days were sealed more than a day after they closed, the last of them {chain[2].day}" in told  # fmt: skip


def test_a_changed_row_settlement_adjustment_or_seal_is_named_with_its_day(
    faults_after: Callable[[str], dict[int, list[str]]],
) -> None:
    expected = {
        "UPDATE cus_llm_usage SET model = 'gpt-4p' WHERE call_id = 'a'": {0: ["usage rows: altered"]},
        "UPDATE cus_llm_usage SET session_id = '' WHERE call_id = 'a'": {0: ["usage rows: altered"]},
        "UPDATE cus_llm_usage SET turns = 'null' WHERE call_id = 'a'": {0: ["usage rows: altered"]},
        "UPDATE cus_llm_usage SET occurred_at = 'infinity'": {0: ["usage rows: altered"]},
        "DELETE FROM cus_llm_usage WHERE call_id = 'a'": {0: ["usage rows: 1 fewer than sealed"]},
        "DELETE FROM cus_llm_usage": {0: ["usage rows: 2 fewer than sealed"]},
        "UPDATE cus_llm_usage SET created_at = created_at + interval '1 day' WHERE call_id = 'a'": {
            0: ["usage rows: 1 fewer than sealed"],
            1: ["usage rows: 1 more than sealed"],
        },
        "DELETE FROM cus_usage_settlements": {2: ["settlements: 1 fewer than sealed"]},
        "UPDATE cus_usage_settlements SET flags = '[1]'": {2: ["settlements: altered"]},
        "UPDATE cus_cost_adjustments SET difference_microcents = 7": {2: ["adjustments: altered"]},
        "DELETE FROM cus_cost_adjustments": {2: ["adjustments: 1 fewer than sealed"]},
        "UPDATE cus_evidence_seals SET rows = 3 WHERE rows = 2": {0: [_ALTERED]},
        "UPDATE cus_evidence_seals SET sealed_at = now() WHERE rows = 2": {0: [_ALTERED]},
    }  # fmt: skip

    assert {change: faults_after(change) for change in expected} == expected


_ALTERED = "seal altered: its digest is not that of its columns"


def test_an_added_row_is_named_whether_its_day_had_rows_none_or_was_before_all_seals(
    faults_after: Callable[[str], dict[int, list[str]]], tenant: CusTenant, noon: datetime
) -> None:
    def added(days_ago: int) -> dict[int, list[str]]:
        return faults_after(_call(tenant, noon - timedelta(days=days_ago), "added"))

    assert added(_FIRST) == {0: ["usage rows: 1 more than sealed"]}
    assert added(_EMPTY) == {1: ["usage rows: 1 more than sealed"]}
    before = (noon - timedelta(days=_FIRST + 1)).date()
    text = f"evidence received before this first sealed day was added, on {before}"
    assert added(_FIRST + 1) == {0: [text]}
    lost = faults_after("UPDATE cus_usage_settlements SET created_at = '-infinity'")
    assert lost[0][0].endswith("was added, on 1970-01-01")


@pytest.mark.parametrize(
    ("table", "label", "index"),
    [
        ("cus_llm_usage", "usage rows", 0),
        ("cus_usage_settlements", "settlements", 2),
        ("cus_cost_adjustments", "adjustments", 2),
    ],
)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        # The lowest bit of one number of one row.
        ("UPDATE {table} SET {number} = {number} # 1 WHERE id = {one}", "altered"),
        # A copy, so that nothing but its number tells it from a true row.
        (
            "CREATE TEMP TABLE copied AS SELECT * FROM {table} WHERE id = {one};"
            " UPDATE copied SET id = gen_random_uuid(), {name};"
            " INSERT INTO {table} SELECT * FROM copied",
            "1 more than sealed",
        ),
        ("DELETE FROM {table} WHERE id = {one}", "1 fewer than sealed"),
    ],
)
def test_the_command_names_the_day_of_one_bit_that_is_flipped_one_row_added_or_removed(
    table: str, label: str, index: int, change: str, says: str, chain: list[CusEvidenceSeal]
) -> None:
    number = {"cus_cost_adjustments": "difference_microcents"}.get(table, "tokens_out")
    # What the table's own unique constraint would refuse.
    name = {"cus_cost_adjustments": "number = 2", "cus_usage_settlements": "usage_id = id"}
    with _superuser(str(connections["default"].settings_dict["NAME"])) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(
            change.format(
                table=table,
                number=number,
                one=f"(SELECT id FROM {table} ORDER BY id LIMIT 1)",
                name=name.get(table, "call_id = 'c'"),
            ).encode()
        )

    told = _told()

    assert f"{chain[index].day}: {label}: {says}" in told
    assert "4 days compared with their seals, 1 with faults." in told


def test_a_deleted_seal_is_named(
    chain: list[CusEvidenceSeal], faults_after: Callable[[str], dict[int, list[str]]]
) -> None:
    def deleted(index: int) -> dict[int, list[str]]:
        return faults_after(f"DELETE FROM cus_evidence_seals WHERE day = '{chain[index].day}'")

    def missing(index: int) -> list[str]:
        return [f"seals missing from {chain[index].day} to {chain[index].day}"]

    assert deleted(1) == {2: missing(1)}
    assert deleted(3) == {3: missing(3)}
    assert deleted(0)[1][-1] == "seals missing: this is not the first seal, but none is before it"
    whole = f"seals missing from {chain[0].day} to {chain[3].day}"
    assert faults_after("DELETE FROM cus_evidence_seals") == {0: [whole]}


def test_a_day_that_was_sealed_anew_with_the_true_key_breaks_the_chain(
    chain: list[CusEvidenceSeal], tenant: CusTenant, noon: datetime
) -> None:
    first = chain[0]
    as_if(
        "DELETE FROM cus_evidence_seals WHERE rows = 2", "UPDATE cus_llm_usage SET cost_cents = 9"
    )
    _, key = SealKeys(tenant.id).newest
    with transaction.atomic(), service.reading() as cursor:
        content = canonical_form.content_of(cursor, first, FORMS[NEWEST].kinds[0], key)
    first.rows_digest = content.digest
    first.digest = service.digest_of(first, key)
    first.save(force_insert=True)

    assert _faults(tenant, noon) == {
        chain[1].day: ["chain broken: this seal does not follow the seal of the day before"]
    }


def test_an_exported_head_shows_a_chain_that_was_rewritten_as_a_whole(
    chain: list[CusEvidenceSeal], noon: datetime, tmp_path: Path
) -> None:
    heads, head = tmp_path / "heads.json", chain[-1]
    heads.write_text(_run("cus_evidence_head"))
    assert json.loads(heads.read_text()) == [
        {"tenant": str(head.tenant_id), "day": head.day.isoformat(), "digest": head.digest}
    ]
    assert "0 with faults" in _run("cus_evidence_verify", "--head", str(heads))

    as_if("DELETE FROM cus_evidence_seals", "UPDATE cus_llm_usage SET cost_cents = 9")
    _sealed(noon)

    assert "0 with faults" in _run("cus_evidence_verify")
    assert f"{head.day}: chain rewritten" in _told("--head", str(heads))
    as_if("DELETE FROM cus_evidence_seals")
    assert "seal missing: it was exported as the head" in _told("--head", str(heads))


def test_a_file_without_heads_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('[{"tenant": 1}]')

    with pytest.raises(CommandError, match="Take a file that cus_evidence_head has written"):
        _run("cus_evidence_verify", "--head", str(wrong))
    with pytest.raises(CommandError, match="can't be read"):
        _run("cus_evidence_verify", "--head", str(tmp_path / "absent"))


def test_the_command_names_the_tenant_and_compares_the_days_that_are_asked_for(
    chain: list[CusEvidenceSeal], tenant: CusTenant
) -> None:
    as_if("UPDATE cus_llm_usage SET cost_cents = 9")

    told = _told("--tenant", tenant.name)

    assert f"Tenant {tenant.name} ({tenant.id}), {chain[0].day}: usage rows: altered" in told
    assert "3 days compared" in _run("cus_evidence_verify", "--from", str(chain[1].day))
    assert "1 days compared" in _told("--to", str(chain[0].day))
    assert "0 days compared" in _run("cus_evidence_verify", "--tenant", make_tenant().name)


def test_a_seal_is_verified_by_the_form_that_made_it(
    tenant: CusTenant, noon: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if(_call(tenant, noon - timedelta(days=2)))
    other = CanonicalForm(2, (Kind("rows", "cus_llm_usage", ("id",)), *FORMS[1].kinds[1:]))
    monkeypatch.setitem(FORMS, 2, other)
    monkeypatch.setattr(service, "NEWEST", 2)
    first = next(CusSealService(tenant.id).seal_due(noon))
    monkeypatch.setattr(service, "NEWEST", 1)
    (second,) = _sealed(noon)

    assert (first.form, second.form) == (2, 1)
    as_if("UPDATE cus_llm_usage SET cost_cents = 9")
    assert _faults(tenant, noon) == {}
    as_if("UPDATE cus_llm_usage SET id = gen_random_uuid()")
    assert _faults(tenant, noon) == {first.day: ["usage rows: altered"]}
    monkeypatch.delitem(FORMS, 2)
    assert "canonical form 2 is unknown" in _faults(tenant, noon)[first.day][0]


def test_the_newest_form_covers_every_column_of_the_evidence() -> None:
    """Whoever adds a column adds a form: otherwise the column could be changed unnoticed."""
    covered = {kind.table: set(kind.columns) for kind in FORMS[NEWEST].kinds}

    for model in (CusLLMUsage, CusUsageSettlement, CusCostAdjustment):
        columns = {field.column for field in model._meta.concrete_fields}
        assert covered[model._meta.db_table] == columns


_ODD_CALL = """
INSERT INTO cus_llm_usage (id, tenant_id, integration_id, call_id, provider, model, tokens_in,
    tokens_out, cost_cents, cost_microcents, pricing, session_id, metadata, occurred_at, created_at)
VALUES ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000001',
    '00000000-0000-0000-0000-000000000002', E'a\\tb\\n\\\\', 'openai', 'gpt-4o', 1, 2, 3, 4, 'table',
    '', '{"b": 1.0, "a": null}', '2026-01-02 03:04:05.5+02', %s)
"""
_ODD_TEXT = (
    "00000000-0000-0000-0000-000000000003\t00000000-0000-0000-0000-000000000001"
    "\t00000000-0000-0000-0000-000000000002\t\t\\N\ta\\tb\\n\\\\\topenai\tgpt-4o" + "\t\\N" * 3
    + "\tother\tf\t1\t2" + "\t0" * 7 + "\t\\N" * 4 + "\t3\t4\t\\N\ttable" + "\t\\N" * 6
    + "\tallowed\t\\N\t\\N\t{\"a\": null, \"b\": 1.0}" + "\t\\N" * 6 + "\t[]" + "\t\\N" * 4
    + "\tf" + "\t\\N" * 8 + "\t1767315845.500000\t"
)  # fmt: skip


def test_the_text_of_the_first_form_stays_as_it_is_whatever_a_sessions_zone(
    noon: datetime,
) -> None:
    """Seals of every release are verified by this text."""
    tenant_id, key = uuid.UUID(int=1), b"key"
    seal = CusEvidenceSeal(tenant_id=tenant_id, form=1, day=noon.date())
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL TIME ZONE 'Asia/Kathmandu'")
        cursor.execute(_ODD_CALL, [noon])
        content = canonical_form.content_of(cursor, seal, FORMS[1].kinds[0], key)

    header = f'[1, "rows", "{tenant_id}", "{noon.date()}"]\n'
    text = f"{header}{_ODD_TEXT}{noon.timestamp():.6f}\n"
    assert content.count == 1
    assert content.digest == hmac.digest(key, text.encode(), "sha256").hex()


def test_a_second_secret_seals_and_the_first_one_still_verifies(
    tenant: CusTenant, noon: datetime, settings: Settings
) -> None:
    old, new = settings.CUS_SEAL_SECRET, "another" * 8
    as_if(_call(tenant, noon - timedelta(days=2)))
    first = next(CusSealService(tenant.id).seal_due(noon))
    settings.CUS_SEAL_SECRET = f"{new},{old}"
    (second,) = _sealed(noon)

    assert first.key_id != second.key_id
    assert _faults(tenant, noon) == {}
    settings.CUS_SEAL_SECRET = new
    assert "put the secret that sealed this day back" in _faults(tenant, noon)[first.day][0]


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-11-29T00:59:59+00:00", date(2026, 11, 27)),
        ("2026-11-29T01:00:00+00:00", date(2026, 11, 28)),
        ("2026-11-29T01:59:59+01:00", date(2026, 11, 27)),
        ("2026-03-01T01:00:00+00:00", date(2026, 2, 28)),
    ],
)
def test_a_day_is_due_an_hour_after_it_closed_in_utc(now: str, day: date) -> None:
    assert last_closed_day(datetime.fromisoformat(now)) == day


def test_a_due_day_without_a_seal_is_named_once_beat_has_had_its_turn(
    tenant: CusTenant, noon: datetime
) -> None:
    yesterday = noon - timedelta(days=1)
    as_if(_call(tenant, yesterday))

    assert _faults(tenant, noon.replace(hour=2)) == {}
    assert _faults(tenant, noon.replace(hour=4)) == {
        yesterday.date(): [f"seals missing from {yesterday.date()} to {yesterday.date()}"]
    }


def test_the_task_seals_what_is_reported_and_nothing_before_its_day_has_closed(
    sdk: SdkClient, noon: datetime
) -> None:
    sdk.report_calls(2)
    cus_seal_evidence()
    assert not CusEvidenceSeal.objects.exists()

    as_if("UPDATE cus_llm_usage SET created_at = created_at - interval '1 day'")
    cus_seal_evidence()

    assert CusEvidenceSeal.objects.get().rows == 2
    assert _run("cus_evidence_seal") == "0 days sealed, with 0 facts.\n"
    assert _run("cus_evidence_verify") == "1 days compared with their seals, 0 with faults.\n"


def test_a_sealer_leaves_a_tenant_whose_days_another_one_seals(
    tenant: CusTenant, noon: datetime
) -> None:
    as_if(_call(tenant, noon - timedelta(days=1)))
    with _superuser(str(connections["default"].settings_dict["NAME"])) as other:
        other.execute(
            "SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"evidence seal of {tenant.id}"]
        )
        assert _sealed(noon) == []
        # A connection that is closed keeps its locks until its server process has ended.
        other.execute("SELECT pg_advisory_unlock_all()")

    assert len(_sealed(noon)) == 1


def test_a_sealer_that_ends_in_the_middle_leaves_whole_seals_and_the_next_goes_on(
    tenant: CusTenant, noon: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_if(_call(tenant, noon - timedelta(days=2)))
    monkeypatch.setattr(service, "digest_of", _killed_at(noon - timedelta(days=1)))
    with pytest.raises(KeyboardInterrupt):
        _sealed(noon)
    assert CusEvidenceSeal.objects.count() == 1

    monkeypatch.undo()
    assert len(_sealed(noon)) == 1
    assert _faults(tenant, noon) == {}


def _killed_at(moment: datetime) -> Callable[[CusEvidenceSeal, bytes], str]:
    digest_of = service.digest_of

    def killed(seal: CusEvidenceSeal, key: bytes) -> str:
        if seal.day == moment.date():
            raise KeyboardInterrupt
        return digest_of(seal, key)

    return killed


def test_one_tenants_error_stops_no_other(
    noon: datetime, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    first, second = sorted((make_tenant(), make_tenant()), key=lambda tenant: tenant.id)
    as_if(*(_call(tenant, noon - timedelta(days=1)) for tenant in (first, second)))
    read = canonical_form.content_of

    def failing(
        cursor: CursorWrapper, seal: CusEvidenceSeal, kind: Kind, key: bytes
    ) -> canonical_form.Content:
        if seal.tenant_id == first.id:
            cursor.execute("SELECT 1 / 0")
        return read(cursor, seal, kind, key)

    with monkeypatch.context() as patch:
        patch.setattr(canonical_form, "content_of", failing)
        output = io.StringIO()
        with pytest.raises(CommandError, match="1 tenants could not be sealed"):
            call_command("cus_evidence_seal", stdout=output, stderr=output)

    assert f"Tenant {first.id}: division by zero" in output.getvalue()
    assert CusEvidenceSeal.objects.get().tenant_id == second.id
    assert [seal.tenant_id for seal in _sealed(noon)] == [first.id]


def test_rows_that_retention_dropped_are_told_and_the_rest_is_still_proven(
    faults_after: Callable[[str], dict[int, list[str]]],
    tenant: CusTenant,
    noon: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telemetry.cus_seals.verification.months_with_evidence", set)

    by_hand = faults_after("DELETE FROM cus_llm_usage")
    assert list(by_hand) == [0]
    assert "is missing, and retention has not dropped it" in by_hand[0][0]
    as_if(
        *(
            f"INSERT INTO cus_dropped_months VALUES ('{noon - timedelta(days=ago):%Y-%m-01}', 2)"
            " ON CONFLICT DO NOTHING"
            for ago in (_FIRST, _LAST)
        )
    )
    recent = faults_after("DELETE FROM cus_llm_usage")
    assert "retention drops no month that recent" in recent[0][0]

    monkeypatch.setattr("telemetry.cus_seals.verification.LEAST_KEPT_MONTHS", 0)
    days = list(CusSealVerifier(tenant.id, noon).days())
    assert [day.dropped for day in days] == [True, False, False, False]
    assert "1 days: usage rows dropped by retention" in _run("cus_evidence_verify")
    assert faults_after("DELETE FROM cus_llm_usage") == {}
    assert faults_after("UPDATE cus_evidence_seals SET rows = 1 WHERE rows = 2") == {0: [_ALTERED]}
    assert list(faults_after("DELETE FROM cus_usage_settlements")) == [2]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cus_evidence_seals SET rows = 1",
        "DELETE FROM cus_evidence_seals",
        "TRUNCATE cus_evidence_seals",
    ],
)
def test_seals_are_append_only(statement: str) -> None:
    with (
        pytest.raises(DatabaseError, match="permission denied"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    with (
        _superuser(str(connections["default"].settings_dict["NAME"])) as superuser,
        pytest.raises(psycopg.Error, match="is evidence"),
    ):
        superuser.execute(statement.encode())
