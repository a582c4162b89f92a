"""The product's own login lowers what was counted, or removes what was set aside."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from tests.trust.cus_abuse.money import bypass_report
from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.product import AttackedProduct
from tests.trust.cus_check_races import reported
from tests.trust.cus_race_callers import CHECK, asked
from tests.trust.cus_real_product import Row

_REPORT = "/api/v1/cus/telemetry/llm-usage"
_BYPASS = "/api/v1/cus/telemetry/bypass"
# What was counted: no number of these falls, no row of these goes.
_COUNTED = (
    "cus_period_totals",
    "cus_lifetime_totals",
    "cus_decision_totals",
    "cus_decision_reasons",
    "cus_outcome_totals",
    "cus_bypass_hours",
    "cusbypass_reports",
    "cus_llm_usage",
    "cus_call_ledger",
)
# What is set aside; it goes only when it is settled, returned or over.
_ASIDE = (
    "cus_enforcement_holds",
    "cus_enforcement_leases",
    "cus_hold_sums",
    "cus_landed_admissions",
    "cus_running_admissions",
)
_NUMBERS = ("integer", "bigint", "smallint", "numeric")
# Which shard a sum is in is no amount; the number of a limit is checked as what binds it.
_NO_AMOUNT = ("shard",)
_LEASE = {
    "holder_id": "holder",
    "cents": 10,
    "microcents": 10_000_000,
    "tokens": 10,
    "calls": 10,
}
Attempt = tuple[str, sql.Composed]


def by_sql(product: AttackedProduct, _size: Size) -> Outcome:
    """UPDATE, DELETE, TRUNCATE and MERGE as the application and as its decider."""
    key = product.new_tenant()["keys"][0]
    _leave_evidence(product, key)
    attempts = list(_attempts(product, key))
    passed: list[str] = []
    for role in (None, "cus_decider"):
        with product.connect_as_app() as connection:
            passed += [
                f"{role or 'cus_app'}: {name}"
                for name, statement in attempts
                if _goes_through(connection, role, statement)
            ]
    figures = f"{len(passed)} of {2 * len(attempts)} statements went through"
    return Outcome(figures, [f"went through as {name}" for name in passed])


def _leave_evidence(product: AttackedProduct, key: str) -> None:
    """A call that is stored, one that is held, a lease, decisions, a report of bypasses."""
    product.set_limits(key, budget_limit_cents=100_000)
    door = product.door(0, key)
    for path, body in (
        (CHECK, asked("landed", 5)),
        (_REPORT, reported("landed", 5, tokens_in=100, tokens_out=10)),
        (CHECK, asked("running", 7)),
        (CHECK, asked("dear", 200_000)),
        (_BYPASS, bypass_report()),
    ):
        answer = door.post(path, body)
        assert answer.status < 300, str(answer)
    door.close()
    _lease(product, key)


def _lease(product: AttackedProduct, key: str) -> None:
    """Put there by hand, because the first release has no door for leases."""
    tenant, integration, _ = key.split(":")
    names = ("tenant_id", "integration_id", "id", *_LEASE)
    with product.connect() as connection:
        connection.execute(
            sql.SQL(
                "INSERT INTO cus_enforcement_leases ({}, taken_at, expires_at) VALUES"
                " ({}, now(), now() + interval '10 minutes')"
            ).format(
                sql.SQL(", ").join(map(sql.Identifier, names)),
                sql.SQL(", ").join(sql.Placeholder() * len(names)),
            ),
            [tenant, integration, integration, *_LEASE.values()],
        )


def _attempts(product: AttackedProduct, key: str) -> Iterator[Attempt]:
    """Each statement that would lower something, with its name."""
    with product.connect() as connection:
        for table in (*_COUNTED, *_ASIDE):
            columns = _columns(connection, table)
            if not columns:
                continue  # There is no such table in this version.
            whose = _whose(key, columns)
            yield from _of_table(table, whose, columns)
            for name in _amounts(connection, table, columns, whose):
                yield _statement("UPDATE {t} SET {c} = 0 WHERE {w}", table, whose, name)
                yield _statement("UPDATE {t} SET {c} = {c} - 1 WHERE {w}", table, whose, name)


def _whose(key: str, columns: dict[str, str]) -> sql.Composed:
    tenant, integration, _ = key.split(":")
    if "integration_id" in columns:
        return sql.SQL("integration_id = {}").format(sql.Literal(integration))
    return sql.SQL("tenant_id = {}").format(sql.Literal(tenant))


def _of_table(table: str, whose: sql.Composed, columns: dict[str, str]) -> Iterator[Attempt]:
    yield _statement("DELETE FROM {t} WHERE {w}", table, whose)
    yield _statement("TRUNCATE {t}", table, whose)
    yield _statement("DROP TABLE {t}", table, whose)
    yield _statement("ALTER TABLE {t} DISABLE TRIGGER ALL", table, whose)
    merge = "MERGE INTO {t} USING (SELECT 1) AS one ON {w} WHEN MATCHED THEN DELETE"
    yield _statement(merge, table, whose)
    # Moved elsewhere, an amount is lowered where it was.
    for name in ("tenant_id", "integration_id"):
        if name in columns:
            yield _statement("UPDATE {t} SET {c} = gen_random_uuid() WHERE {w}", table, whose, name)
    for name in ("period", "hour"):
        if name in columns:
            earlier = "UPDATE {t} SET {c} = {c} - interval '40 days' WHERE {w}"
            yield _statement(earlier, table, whose, name)
    for name in ("expires_at", "taken_at"):
        if name in columns and table in _ASIDE:
            earlier = "UPDATE {t} SET {c} = now() - interval '1 day' WHERE {w}"
            yield _statement(earlier, table, whose, name)


def _statement(text: str, table: str, whose: sql.Composed, column: str = "") -> Attempt:
    names = {"t": sql.Identifier(table), "w": whose, "c": sql.Identifier(column or "none")}
    shown = text.format(t=table, w="…", c=column)
    return shown, sql.SQL(text).format(**names)


def _columns(connection: "psycopg.Connection[Row]", table: str) -> dict[str, str]:
    found = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s",
        [table],
    )
    return {str(name): str(kind) for name, kind in found}


def _amounts(
    connection: "psycopg.Connection[Row]", table: str, columns: dict[str, str], whose: sql.Composed
) -> list[str]:
    """The columns with numbers above 0 in the integration's rows: only those can fall."""
    row = connection.execute(
        sql.SQL("SELECT json_agg(found) FROM {} AS found WHERE {}").format(
            sql.Identifier(table), whose
        )
    ).fetchone()
    assert row
    rows: list[dict[str, Any]] = row[0] if isinstance(row[0], list) else json.loads(row[0] or "[]")
    assert rows, f"there is nothing in {table} to attack"
    return [
        name
        for name, kind in columns.items()
        if kind in _NUMBERS and name not in _NO_AMOUNT and any((one[name] or 0) > 0 for one in rows)
    ]


def _goes_through(
    connection: "psycopg.Connection[Row]", role: str | None, statement: sql.Composed
) -> bool:
    """Whether it changes a row, checks that wait for the commit included. It is undone."""
    try:
        with connection.transaction(force_rollback=True):
            if role:
                connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
            cursor = connection.execute(statement)
            changed = cursor.rowcount != 0
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.Error:
        return False
    return changed
