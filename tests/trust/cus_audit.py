"""Whether rows, ledger and totals say the same (rulings E1, E8), by SQL of its own.

Totals are found by what their table has: every sum must be one that is known here, so that
a new one can't go unchecked.
"""

import psycopg

from tests.trust.cus_real_product import Row
from tests.trust.cus_token_columns import TOKEN_COLUMNS

_TOTALS = ("cus_lifetime_totals", "cus_period_totals")
# The columns that say which total it is, as an expression over the rows.
_KEYS = {
    "tenant_id": "tenant_id",
    "integration_id": "integration_id",
    "provider": "provider",
    "model": "model",
    "period": "date_trunc('month', created_at AT TIME ZONE 'UTC')::date",
}
_RAN = "policy_result <> 'blocked'"
_COUNTS = {
    "calls": f"count(*) FILTER (WHERE {_RAN})",
    "errors": f"count(*) FILTER (WHERE {_RAN} AND error_code IS NOT NULL)",
    "blocked": "count(*) FILTER (WHERE policy_result = 'blocked')",
    "unpriced": "count(*) FILTER (WHERE pricing = 'unknown')",
    "cost_mismatches": "count(*) FILTER (WHERE flags ? 'cost_mismatch')",
    "tokens_mismatches": "count(*) FILTER (WHERE flags ? 'tokens_mismatch')",
}
_SUMS = {name: f"sum({name})" for name in (*TOKEN_COLUMNS, "cost_cents", "cost_microcents")}
_COUNTED = "greatest(cost_cents, ceil(cost_microcents / 1000000.0)::bigint)"
_SUMS |= {"counted_cents": f"sum({_COUNTED})"} | {
    f"overrun_{unit}": f"sum(greatest({cost} - estimate_{unit}, 0))"
    for unit, cost in (
        ("cents", _COUNTED),
        ("microcents", "cost_microcents"),
        ("tokens", "(tokens_in::bigint + tokens_out)"),
    )
}
SUMMED = frozenset(_COUNTS | _SUMS)
# Nobody adjusts a cost here, and which shard a sum is in is nobody's business.
_OTHER = ("shard", "correction_microcents")

_LEDGER = """
SELECT
    (SELECT count(*) FROM cus_call_ledger),
    (SELECT count(*) FROM cus_llm_usage),
    (SELECT count(*) FROM (SELECT DISTINCT tenant_id, integration_id, call_id FROM cus_llm_usage)
        AS calls),
    (SELECT count(*) FROM cus_call_ledger AS ledger JOIN cus_llm_usage AS usage ON
        usage.tenant_id = ledger.tenant_id AND usage.created_at = ledger.usage_created_at
        AND usage.id = ledger.usage_id AND usage.integration_id = ledger.integration_id
        AND replace(ledger.call_hash::text, '-', '')
            = left(encode(sha256(convert_to(usage.call_id, 'UTF8')), 'hex'), 32))
"""


def findings(connection: "psycopg.Connection[Row]") -> list[str]:
    """What disagrees at one moment, a sentence each; nothing if all is well."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return [
            *_ledger_findings(connection),
            *holds_findings(connection),
            *(found for table in _TOTALS for found in _totals_findings(connection, table)),
        ]


def _ledger_findings(connection: "psycopg.Connection[Row]") -> list[str]:
    counts = connection.execute(_LEDGER).fetchone()
    if counts is not None and len(set(counts)) == 1:
        return []
    return [f"entries, rows, calls and entries that lead to their row differ: {counts}"]


# Both sides of what F5b asks: the kept sums of holds, and the holds.
_HOLDS = """
SELECT tenant_id, integration_id, sum(calls), sum(cents), sum(microcents), sum(tokens)
FROM (
    SELECT tenant_id, integration_id, calls, cents, microcents, tokens FROM cus_hold_sums
    UNION ALL
    SELECT tenant_id, integration_id, -1, -cents, -microcents, -tokens FROM cus_enforcement_holds
) AS both_sides GROUP BY 1, 2
HAVING (sum(calls), sum(cents), sum(microcents), sum(tokens)) <> (0, 0, 0, 0)
"""


def holds_findings(connection: "psycopg.Connection[Row]") -> list[str]:
    """Where the kept sums of holds are not those of the holds (ruling F5b)."""
    if not _columns(connection, "cus_hold_sums"):
        return []  # There is no such table in this version.
    return [f"sums of holds less holds: {row}" for row in connection.execute(_HOLDS)]


def _totals_findings(connection: "psycopg.Connection[Row]", table: str) -> list[str]:
    columns = _columns(connection, table)
    sums = _COUNTS | _SUMS
    unknown = [name for name in columns if name not in {*_KEYS, *sums, *_OTHER}]
    if unknown:
        return [f"{table} has what nothing here can check: {', '.join(unknown)}"]
    keys = {name: _KEYS[name] for name in columns if name in _KEYS}
    wanted = {name: sums[name] for name in columns if name in sums}
    if not wanted:
        return []  # There is no such table in this version.
    return [
        f"{table} and the rows differ: {dict(zip(('side', *keys, *wanted), row, strict=True))}"
        for row in connection.execute(_difference(table, keys, wanted).encode())
    ]


def _columns(connection: "psycopg.Connection[Row]", table: str) -> list[str]:
    found = connection.execute(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s ORDER BY ordinal_position",
        [table],
    )
    return [str(name) for (name,) in found]


def _difference(table: str, keys: dict[str, str], sums: dict[str, str]) -> str:
    groups = ", ".join(str(place + 1) for place in range(len(keys)))
    of_rows = ", ".join([*keys.values(), *(f"({total})::numeric" for total in sums.values())])
    of_totals = ", ".join([*keys, *(f"sum({name})::numeric" for name in sums)])
    rows = f"SELECT {of_rows} FROM cus_llm_usage GROUP BY {groups}"
    totals = f"SELECT {of_totals} FROM {table} GROUP BY {groups}"
    return (
        f"(SELECT 'rows', * FROM ({rows} EXCEPT {totals}) AS more)"
        f" UNION ALL (SELECT 'totals', * FROM ({totals} EXCEPT {rows}) AS more)"
    )
