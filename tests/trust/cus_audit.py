"""Whether facts, ledger and totals say the same (rulings E1, E8, M5b), by SQL of its own.

Totals are found by what their table has: every sum must be one that is known here, so that
a new one can't go unchecked.
"""

import psycopg

from tests.trust.cus_real_product import Row
from tests.trust.cus_token_columns import TOKEN_COLUMNS

_TOTALS = ("cus_lifetime_totals", "cus_period_totals")
# The columns that say which total a row belongs to, as an expression over the row.
_KEYS = {
    "tenant_id": "usage.tenant_id",
    "integration_id": "usage.integration_id",
    "provider": "usage.provider",
    "model": "usage.model",
    "period": "date_trunc('month', {moment} AT TIME ZONE 'UTC')::date",
}
_UNITS = ("cents", "microcents", "tokens")
_RAN = "usage.policy_result <> 'blocked'"


def _amounts(fact: str) -> dict[str, str]:
    """What a row or a settlement adds to each sum that both add to."""
    counted = f"greatest({fact}.cost_cents, ceil({fact}.cost_microcents / 1000000.0)::bigint)"
    used = {
        "cents": counted,
        "microcents": f"{fact}.cost_microcents",
        "tokens": f"({fact}.tokens_in::bigint + {fact}.tokens_out)",
    }
    return {
        **{name: f"{fact}.{name}" for name in (*TOKEN_COLUMNS, "cost_cents", "cost_microcents")},
        "counted_cents": counted,
        "unpriced": f"({fact}.pricing = 'unknown')::int",
        "unpriced_unit_calls": f"({fact}.unpriced_units IS NOT NULL)::int",
        "cost_mismatches": f"({fact}.flags ? 'cost_mismatch')::int",
        "tokens_mismatches": f"({fact}.flags ? 'tokens_mismatch')::int",
        **{
            f"overrun_{unit}": f"greatest({used[unit]} - usage.estimate_{unit}, 0)" for unit in used
        },
    }


_OF_ROW = _amounts("usage") | {
    "calls": f"({_RAN})::int",
    "errors": f"({_RAN} AND usage.error_code IS NOT NULL)::int",
    "blocked": "(usage.policy_result = 'blocked')::int",
    "unmeasured": "(usage.pricing = 'unmeasured')::int",
    **{f"provisional_{unit}": f"coalesce(usage.provisional_{unit}, 0)" for unit in _UNITS},
}
_OF_SETTLEMENT = _amounts("settlement")
# Counted in the month of the row, whenever the settlement came.
_OF_SETTLED_ROW = {"settled": "1"} | {
    f"released_{unit}": f"usage.provisional_{unit}" for unit in _UNITS
}
_SETTLED = """cus_usage_settlements AS settlement JOIN cus_llm_usage AS usage
    ON usage.tenant_id = settlement.tenant_id AND usage.created_at = settlement.usage_created_at
    AND usage.id = settlement.usage_id"""
# Where facts stand, by which moment a fact belongs to a month, and what it adds to each sum.
_FACTS = (
    ("cus_llm_usage AS usage", "usage.created_at", _OF_ROW),
    (_SETTLED, "settlement.created_at", _OF_SETTLEMENT),
    (_SETTLED, "usage.created_at", _OF_SETTLED_ROW),
)
SUMMED = frozenset(_OF_ROW | _OF_SETTLED_ROW)
# No test of these adjusts a cost, and a sum may stand in any shard.
_OTHER = ("shard", "correction_microcents")

_HASH = "replace(ledger.call_hash::text, '-', '') = left(encode(sha256(convert_to({}, 'UTF8')), 'hex'), 32)"
# A row's own entry leads to the row; an alias' entry to the row that the alias names, which another
# call id has.
_LEDGER = f"""
SELECT
    (SELECT count(*) FROM cus_call_ledger),
    (SELECT count(*) FROM cus_llm_usage) + {{aliases}},
    (SELECT count(*) FROM (SELECT DISTINCT tenant_id, integration_id, call_id FROM cus_llm_usage)
        AS calls) + {{aliases}},
    (SELECT count(*) FROM cus_call_ledger AS ledger JOIN cus_llm_usage AS usage ON
        usage.tenant_id = ledger.tenant_id AND usage.created_at = ledger.usage_created_at
        AND usage.id = ledger.usage_id AND usage.integration_id = ledger.integration_id
        AND {_HASH.format("usage.call_id")}) + {{led}}
"""
_ALIASES = "(SELECT count(*) FROM cus_call_aliases)"
_LED = f"""(SELECT count(*) FROM cus_call_ledger AS ledger JOIN cus_call_aliases AS alias ON
        alias.tenant_id = ledger.tenant_id AND alias.integration_id = ledger.integration_id
        AND alias.usage_id = ledger.usage_id AND alias.usage_created_at = ledger.usage_created_at
        AND {_HASH.format("alias.call_id")} JOIN cus_llm_usage AS usage ON
        usage.tenant_id = alias.tenant_id AND usage.created_at = alias.usage_created_at
        AND usage.id = alias.usage_id AND usage.integration_id = alias.integration_id
        AND usage.call_id <> alias.call_id)"""
# The answers of reports made of an answer's id are told: no call that names one waits any more.
_UNSETTLED = """
SELECT usage.call_id FROM (
    SELECT *, 'settles-' || encode(sha256(convert_to(response_id, 'UTF8')), 'hex') AS report
    FROM cus_llm_usage WHERE pricing = 'unmeasured'
) AS usage JOIN cus_call_ledger AS told ON
    told.tenant_id = usage.tenant_id AND told.integration_id = usage.integration_id
    AND replace(told.call_hash::text, '-', '')
        = left(encode(sha256(convert_to(usage.report, 'UTF8')), 'hex'), 32)
WHERE usage.call_id <> usage.report AND NOT EXISTS (
    SELECT FROM cus_usage_settlements AS settlement
    WHERE settlement.tenant_id = usage.tenant_id AND settlement.usage_id = usage.id)
"""


def findings(connection: "psycopg.Connection[Row]") -> list[str]:
    """What disagrees at one moment, a sentence each; nothing if all is well."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return [
            *_ledger_findings(connection),
            *_unsettled_findings(connection),
            *holds_findings(connection),
            *_outcome_findings(connection),
            *landed_findings(connection),
            *limit_findings(connection),
            *(found for table in _TOTALS for found in _totals_findings(connection, table)),
        ]


# Kept beside the totals: how calls ended, by integration, policy result and whether there is an error.
_ENDED = """
SELECT tenant_id, integration_id, policy_result, failed, sum(calls), sum(latency_calls),
    sum(latency_sum_ms), sum(le_300) FROM (
    SELECT tenant_id, integration_id, policy_result, error_code <> '' AS failed, calls,
        latency_calls, latency_sum_ms, le_300 FROM cus_outcome_totals
    UNION ALL
    SELECT tenant_id, integration_id, policy_result, error_code IS NOT NULL, -1,
        -(ran AND latency_ms IS NOT NULL)::int, -(CASE WHEN ran THEN coalesce(latency_ms, 0) ELSE 0 END),
        -(ran AND coalesce(latency_ms <= 300, false))::int
    FROM (SELECT *, policy_result <> 'blocked' AS ran FROM cus_llm_usage) AS usage
) AS both_sides GROUP BY 1, 2, 3, 4
HAVING (sum(calls), sum(latency_calls), sum(latency_sum_ms), sum(le_300)) <> (0, 0, 0, 0)
"""


def _outcome_findings(connection: "psycopg.Connection[Row]") -> list[str]:
    if not _columns(connection, "cus_outcome_totals"):
        return []  # There is no such table in this version.
    return [f"outcomes less rows: {row}" for row in connection.execute(_ENDED)]


def _ledger_findings(connection: "psycopg.Connection[Row]") -> list[str]:
    # A release before aliases has no table of them.
    has_aliases = bool(_columns(connection, "cus_call_aliases"))
    parts = {"aliases": _ALIASES, "led": _LED} if has_aliases else {"aliases": "0", "led": "0"}
    counts = connection.execute(_LEDGER.format(**parts).encode()).fetchone()
    if counts is not None and len(set(counts)) == 1:
        return []
    return [f"entries, rows, calls and entries that lead to their row differ: {counts}"]


def _unsettled_findings(connection: "psycopg.Connection[Row]") -> list[str]:
    if not _columns(connection, "cus_usage_settlements"):
        return []  # There is no such table in this version.
    found = connection.execute(_UNSETTLED)
    return [f"the answer of {name} is told, and the call is not settled" for (name,) in found]


# Both sides of what F5b asks: the kept sums, and the holds and leases.
_HOLDS = """
SELECT tenant_id, integration_id, sum(calls), sum(cents), sum(microcents), sum(tokens)
FROM (
    SELECT tenant_id, integration_id, calls, cents, microcents, tokens FROM cus_hold_sums
    UNION ALL
    SELECT tenant_id, integration_id, -1, -cents, -microcents, -tokens FROM cus_enforcement_holds
) AS both_sides GROUP BY 1, 2
HAVING (sum(calls), sum(cents), sum(microcents), sum(tokens)) <> (0, 0, 0, 0)
"""
_LENT = ("cents", "microcents", "tokens", "calls")


def _each(text: str) -> str:
    return ", ".join(text.format(one=one) for one in _LENT)


_LEASES = f"""
SELECT tenant_id, integration_id, sum(leases), {_each("sum({one})")}, {_each("sum(young_{one})")}
FROM (
    SELECT tenant_id, integration_id, leases, {_each("leased_{one} AS {one}")},
        {_each("young_{one}")} FROM cus_hold_sums
    UNION ALL
    SELECT tenant_id, integration_id, -1, {_each("-{one}")},
        {_each("CASE WHEN is_young THEN -{one} ELSE 0 END")} FROM cus_enforcement_leases
) AS both_sides GROUP BY 1, 2
HAVING (sum(leases), {_each("sum({one})")}, {_each("sum(young_{one})")})
    <> (0, {", ".join("0" for _ in range(2 * len(_LENT)))})
"""

# Both sides of what F4a counts: the kept buckets of the last minute and of today, and what was
# admitted in them.
_BUCKETS = (
    "(VALUES ('second', interval '1 minute'), ('day', interval '1 day')) AS bucket(span, kept)"
)
_RUNNING_ADMISSIONS = f"""
SELECT tenant_id, integration_id, span, start, sum(calls), sum(tokens) FROM (
    SELECT tenant_id, integration_id, span, start, calls, tokens FROM cus_running_admissions
    UNION ALL
    SELECT tenant_id, integration_id, span, date_trunc(span, taken_at, 'UTC'), -1, -tokens
    FROM cus_enforcement_holds, {_BUCKETS}
    UNION ALL
    SELECT tenant_id, integration_id, span, date_trunc(span, taken_at, 'UTC'), -calls, -tokens
    FROM cus_enforcement_leases, {_BUCKETS}
) AS both_sides JOIN {_BUCKETS} USING (span) WHERE start > now() - kept
GROUP BY 1, 2, 3, 4 HAVING (sum(calls), sum(tokens)) <> (0, 0)
"""
_LANDED_ADMISSIONS = f"""
SELECT tenant_id, integration_id, span, start, sum(calls), sum(tokens) FROM (
    SELECT tenant_id, integration_id, span, start, calls, tokens FROM cus_landed_admissions
    UNION ALL
    SELECT tenant_id, integration_id, span,
        date_trunc(span, coalesce(admitted_at, created_at), 'UTC'),
        -1, -(tokens_in::numeric + tokens_out + coalesce(provisional_tokens, 0))
    FROM cus_llm_usage, {_BUCKETS} WHERE policy_result <> 'blocked'
        AND (admitted_at IS NOT NULL OR created_at - occurred_at <= interval '60 seconds')
) AS both_sides JOIN {_BUCKETS} USING (span) WHERE start > now() - kept
GROUP BY 1, 2, 3, 4 HAVING (sum(calls), sum(tokens)) <> (0, 0)
"""


# Both sides of what limits at scopes count in their present windows, longer than a minute. What was
# settled or corrected is left out: no test that looks here does both.
_VALUE = """CASE scoped.scope WHEN 'model' THEN coalesce(usage.model_requested, usage.model)
    WHEN 'agent_id' THEN usage.agent_id WHEN 'session_id' THEN usage.session_id
    WHEN 'end_user' THEN usage.end_user
    WHEN 'tag' THEN substring(usage.tags::text FROM '"' || scoped.tag || '=([^"]*)"') ELSE '' END"""
_LIMIT_TOTALS = f"""
SELECT id, value, sum(calls), sum(cents), sum(tokens) FROM (
    SELECT scoped.id, total.value, total.calls, total.cents, total.tokens
    FROM cus_limit_totals AS total JOIN cus_scoped_limits AS scoped ON scoped.id = total.limit_id
    WHERE {{present}} AND total.start = {{start}}
    UNION ALL
    SELECT scoped.id, {_VALUE}, -(usage.policy_result <> 'blocked')::int,
        -(usage.counted_cents + coalesce(usage.provisional_cents, 0)::numeric),
        -(usage.tokens_in::numeric + usage.tokens_out + coalesce(usage.provisional_tokens, 0))
    FROM cus_scoped_limits AS scoped JOIN cus_llm_usage AS usage ON
        usage.tenant_id = scoped.tenant_id
        AND coalesce(scoped.integration_id, usage.integration_id) = usage.integration_id
    WHERE {{present}} AND usage.created_at >= {{start}}
        AND coalesce(scoped.value = {_VALUE}, nullif({_VALUE}, '') IS NOT NULL)
) AS both_sides GROUP BY 1, 2 HAVING (sum(calls), sum(cents), sum(tokens)) <> (0, 0, 0)
""".format(
    present="""scoped.deleted_at IS NULL AND scoped."window" <> 'minute'""",
    start="""CASE scoped."window" WHEN 'life' THEN 'epoch'
        ELSE date_trunc(replace(scoped."window", 'life', 'day'), now(), 'UTC') END""",
)
_LIMIT_HOLDS = """
SELECT limit_id, value, sum(calls), sum(cents), sum(tokens) FROM (
    SELECT limit_id, value, held_calls + leased_calls AS calls, held_cents + leased_cents AS cents,
        held_tokens + leased_tokens AS tokens FROM cus_limit_holds WHERE start = 'epoch'
    UNION ALL
    SELECT (entry->>0)::uuid, entry->>1, -1, -cents, -tokens
    FROM cus_enforcement_holds, jsonb_array_elements(limits) AS entry WHERE entry->>2 <> 'minute'
    UNION ALL
    SELECT (entry->>0)::uuid, entry->>1, -calls, -cents, -tokens
    FROM cus_enforcement_leases, jsonb_array_elements(limits) AS entry WHERE entry->>2 <> 'minute'
) AS both_sides GROUP BY 1, 2 HAVING (sum(calls), sum(cents), sum(tokens)) <> (0, 0, 0)
"""


def limit_findings(connection: "psycopg.Connection[Row]") -> list[str]:
    """Where what limits at scopes count is not what rows, holds and leases say."""
    if not _columns(connection, "cus_limit_totals"):
        return []  # There is no such table in this version.
    # Settlements and corrections count, too; `tests.services.test_cus_limit_totals` looks at them.
    settled = connection.execute("SELECT count(*) FROM cus_usage_settlements").fetchone()
    totals = [] if settled and settled[0] else connection.execute(_LIMIT_TOTALS.encode())
    return [
        *(f"totals of limits less rows: {row}" for row in totals),
        *(
            f"holds of limits less holds: {row}"
            for row in connection.execute(_LIMIT_HOLDS.encode())
        ),
    ]


def landed_findings(connection: "psycopg.Connection[Row]") -> list[str]:
    """Where the buckets of stored calls are not the sums of their rows (ruling F4a)."""
    if not _columns(connection, "cus_landed_admissions"):
        return []  # There is no such table in this version.
    return [
        f"landed admissions less rows: {row}"
        for row in connection.execute(_LANDED_ADMISSIONS.encode())
    ]


def holds_findings(connection: "psycopg.Connection[Row]") -> list[str]:
    """Where the kept sums of holds and leases are not those of the rows (ruling F5b)."""
    columns = _columns(connection, "cus_hold_sums")
    if not columns:
        return []  # There is no such table in this version.
    found = [f"sums of holds less holds: {row}" for row in connection.execute(_HOLDS)]
    if "leases" in columns:
        rows = connection.execute(_LEASES.encode())
        found += [f"sums of leases less leases: {row}" for row in rows]
    if _columns(connection, "cus_running_admissions"):
        rows = connection.execute(_RUNNING_ADMISSIONS.encode())
        found += [f"running admissions less holds and leases: {row}" for row in rows]
    return found


def _totals_findings(connection: "psycopg.Connection[Row]", table: str) -> list[str]:
    columns = _columns(connection, table)
    unknown = [name for name in columns if name not in {*_KEYS, *SUMMED, *_OTHER}]
    if unknown:
        return [f"{table} has what nothing here can check: {', '.join(unknown)}"]
    keys = [name for name in columns if name in _KEYS]
    sums = [name for name in columns if name in SUMMED]
    if not sums:
        return []  # There is no such table in this version.
    return [
        f"{table} and the facts differ: {dict(zip(('side', *keys, *sums), row, strict=True))}"
        for row in connection.execute(_difference(table, keys, sums).encode())
    ]


def _columns(connection: "psycopg.Connection[Row]", table: str) -> list[str]:
    found = connection.execute(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s ORDER BY ordinal_position",
        [table],
    )
    return [str(name) for (name,) in found]


def _difference(table: str, keys: list[str], sums: list[str]) -> str:
    groups = ", ".join(str(place + 1) for place in range(len(keys)))
    # A release before settlements has neither their table nor their sums.
    places = _FACTS if "settled" in sums else _FACTS[:1]
    facts = " UNION ALL ".join(_selected(keys, sums, *place) for place in places)
    totalled = ", ".join([*keys, *(f"sum({name})::numeric" for name in sums)])
    of_facts = f"SELECT {totalled} FROM ({facts}) AS fact GROUP BY {groups}"
    of_totals = f"SELECT {totalled} FROM {table} GROUP BY {groups}"
    return (
        f"(SELECT 'facts', * FROM ({of_facts} EXCEPT {of_totals}) AS more)"
        f" UNION ALL (SELECT 'totals', * FROM ({of_totals} EXCEPT {of_facts}) AS more)"
    )


def _selected(
    keys: list[str], sums: list[str], source: str, moment: str, adds: dict[str, str]
) -> str:
    columns = [f"{_KEYS[name].format(moment=moment)} AS {name}" for name in keys]
    columns += [f"({adds.get(name, '0')})::numeric AS {name}" for name in sums]
    return f"SELECT {', '.join(columns)} FROM {source}"
