"""The one statement that stores a batch of evidence.

Ledger, rows, totals, holds and leases change in a single statement, so a call is either known,
stored, counted and no longer held, or none of these (rulings E1, E2, E8, F5). A statement
can't see what another transaction committed after it began, so records that turn out not to
be new are compared by a second one.
"""

import uuid
from collections.abc import Sequence
from contextlib import nullcontext

import msgspec

from aos_sdk.cus_fields import TOKEN_NAMES
from telemetry.cus_connections import Cursor, evidence_cursor
from telemetry.cus_evidence.admission_models import CusAdmissions
from telemetry.cus_evidence.evidence_row import EvidenceRow
from telemetry.cus_evidence.models import CusCallLedger, CusLLMUsage, CusUsageSums
from telemetry.cus_evidence.outcomes import OUTCOMES


def store_batch(
    tenant_id: uuid.UUID, rows: Sequence[EvidenceRow], *, within: Cursor | None = None
) -> set[str]:
    """Store the rows whose call id is new to their integration; says whose was not, by call hash.

    `rows` are of one integration and must not name a call twice. Committed and on disk when this
    returns, unless `within` is the cursor of a transaction.
    """
    # The records travel as one JSON text, which PostgreSQL unpacks.
    records = msgspec.json.encode(rows).decode()
    with nullcontext(within) if within else evidence_cursor() as cursor:
        cursor.execute(_STORE, {"tenant": tenant_id, "records": records})
        return {call_hash.hex for (call_hash,) in cursor.fetchall()}


POSTGRES_TYPES = {
    "UUIDField": "uuid",
    "CharField": "text",
    "TextField": "text",
    "JSONField": "jsonb",
    "BooleanField": "boolean",
    "PositiveIntegerField": "integer",
    "PositiveBigIntegerField": "bigint",
    "BigIntegerField": "bigint",
    "DateTimeField": "timestamptz",
}
# What travels with a row and is not in it.
_BESIDE = {"call_hash": "uuid", "content_hash": "uuid", "reserved": "jsonb"}
UNITS = ("cents", "microcents", "tokens")
ESTIMATE = tuple(f"estimate_{unit}" for unit in UNITS)
_PROVISIONAL = tuple(f"provisional_{unit}" for unit in UNITS)
_SENT_COLUMNS = [
    name for name in EvidenceRow.__struct_fields__ if name not in {*_BESIDE, *_PROVISIONAL}
]


def _type_of(column: str) -> str:
    if column in _BESIDE:
        return _BESIDE[column]
    return POSTGRES_TYPES[CusLLMUsage._meta.get_field(column).get_internal_type()]


_RECORD_TYPE = ", ".join(f"{name} {_type_of(name)}" for name in EvidenceRow.__struct_fields__)
_MOST = 2**63 - 1


def _sum(column: str) -> str:
    # A row's cost has no bound but its type's: many absurd ones must not overflow the total and
    # so stop everybody's ingest. Beyond what a total can hold it stays at its end.
    return f"least(sum({column}), {_MOST})::bigint"


def _plus(name: str) -> str:
    return f"least(total.{name}::numeric + excluded.{name}, {_MOST})::bigint"


_SUMMED = (*TOKEN_NAMES, "cost_cents", "cost_microcents", "counted_cents")
# What a total sums, over the rows that were stored. Blocked calls did not run (ruling E8).
_SUMS = {
    "calls": "count(*) FILTER (WHERE policy_result <> 'blocked')",
    "errors": "count(*) FILTER (WHERE policy_result <> 'blocked' AND error_code IS NOT NULL)",
    "blocked": "count(*) FILTER (WHERE policy_result = 'blocked')",
    "unpriced": "count(*) FILTER (WHERE pricing = 'unknown')",
    "unpriced_unit_calls": "count(*) FILTER (WHERE unpriced_units IS NOT NULL)",
    "unmeasured": "count(*) FILTER (WHERE pricing = 'unmeasured')",
    "cost_mismatches": "count(*) FILTER (WHERE flags @> '[\"cost_mismatch\"]')",
    "tokens_mismatches": "count(*) FILTER (WHERE flags @> '[\"tokens_mismatch\"]')",
    **{column: _sum(column) for column in _SUMMED},
    # `greatest` passes over the null of a call that nothing was held for.
    "overrun_cents": _sum("greatest(counted_cents - estimate_cents, 0)"),
    "overrun_microcents": _sum("greatest(cost_microcents - estimate_microcents, 0)"),
    "overrun_tokens": _sum("greatest(tokens_in::bigint + tokens_out - estimate_tokens, 0)"),
    # `least` passes over a null too, so the sum of none must be 0.
    **{column: _sum(f"coalesce({column}, 0)") for column in _PROVISIONAL},
}


def _reserved(unit: str) -> str:
    return f"(sent.reserved->>'{unit}')::bigint"


def set_aside(unit: str) -> str:
    """SQL for what was held for a sent call, or by its report set aside from a lease (ruling F3)."""
    return f"coalesce(hold.{unit}, {_reserved(unit)})"


def _provisional(unit: str) -> str:
    # What was held for the call or set aside from a lease of its integration, of which no more can
    # have been set aside than the lease has; without that, or if it was 0, what the call may cost
    # at most. Whoever names a lease that is not there says nothing of what was set aside.
    of_lease = f"CASE WHEN lease.{unit} IS NOT NULL AND sent.reserved IS NOT NULL THEN least({_reserved(unit)}, lease.{unit}) END"
    return f"""CASE WHEN sent.pricing = 'unmeasured'
        THEN coalesce(nullif(coalesce(hold.{unit}, {of_lease}), 0), sent.provisional_{unit}) END"""


def _upsert_totals(table: str, **keys: str) -> str:
    """The part of the statement that adds the stored rows to a table of totals.

    `keys` are the columns that identify a total, beside the tenant and its shard, and what
    fills them.
    """
    columns, values = ", ".join(keys), ", ".join(keys.values())
    return f"""
    INSERT INTO {table} AS total (tenant_id, {columns}, shard, {", ".join(_SUMS)})
    SELECT %(tenant)s, {values}, pg_backend_pid() %% {CusUsageSums.SHARDS}, {", ".join(_SUMS.values())}
    FROM landed_calls GROUP BY {values} ORDER BY {values}
    ON CONFLICT (tenant_id, {columns}, shard) DO UPDATE SET
        {", ".join(f"{name} = {_plus(name)}" for name in _SUMS)}
    """  # noqa: S608  (the names are this module's own)


# Rows of the ledger that stand for any integration of the tenant (`CusCallLedger.ANY_INTEGRATION`).
# `OFFSET 0`: looked up row by row, never joined, which would be planned to read a small ledger whole.
OF_ANY = f"""
    SELECT FROM cus_call_ledger AS old WHERE old.tenant_id = %(tenant)s
        AND old.call_hash = sent.call_hash AND old.integration_id = '{CusCallLedger.ANY_INTEGRATION}' OFFSET 0
"""
# The lock of who counts for limits at scopes, which who starts a limit has alone. A trigger needs it
# once the rows are stored; it is taken before any row of holds, leases and sums is locked, because
# who starts a limit writes those. A part of a statement whose rows depend on it.
COUNTING = """counting AS MATERIALIZED (
    SELECT count(locked.done) AS locks
    FROM (SELECT DISTINCT integration_id FROM sent OFFSET 0) AS whose, LATERAL (
        SELECT pg_advisory_xact_lock_shared(cus_counting_key(whose.integration_id))::text AS done
        OFFSET 0) AS locked
)"""
# The hold of a sent call.
HOLD = """LEFT JOIN LATERAL (
        SELECT taken_at, cents, microcents, tokens FROM cus_enforcement_holds
        WHERE tenant_id = %(tenant)s AND integration_id = sent.integration_id
            AND call_id = sent.call_id LIMIT 1
    ) AS hold ON true"""
# Ends the holds of the calls of `landed_calls` and lowers their leases by what `sent` reserved for them.
# A part of a statement that has both.
RELEASED = """landed AS (
    SELECT call_id FROM cus_enforcement_holds
    WHERE tenant_id = %(tenant)s AND integration_id = (SELECT integration_id FROM sent LIMIT 1)
        AND call_id = ANY (ARRAY(SELECT call_id FROM landed_calls))
    ORDER BY call_id FOR UPDATE
), settled AS (
    DELETE FROM cus_enforcement_holds
    WHERE tenant_id = %(tenant)s AND integration_id = (SELECT integration_id FROM sent LIMIT 1)
        AND call_id = ANY (ARRAY(SELECT call_id FROM landed))
), due AS (
    SELECT sent.lease_id AS id, sent.integration_id, count(*) AS calls,
        sum((reserved->>'cents')::bigint) AS cents,
        sum((reserved->>'microcents')::bigint) AS microcents,
        sum((reserved->>'tokens')::bigint) AS tokens
    FROM landed_calls JOIN sent USING (call_id) WHERE sent.lease_id IS NOT NULL
        -- What was set aside for this call was its hold; the lease lent nothing for the call.
        AND call_id NOT IN (SELECT call_id FROM landed)
    GROUP BY sent.lease_id, sent.integration_id
), touched AS (
    SELECT lease.id FROM cus_enforcement_leases AS lease JOIN due USING (id, integration_id)
    WHERE lease.tenant_id = %(tenant)s ORDER BY lease.id FOR UPDATE OF lease
), lowered AS (
    UPDATE cus_enforcement_leases AS lease SET
        calls = greatest(lease.calls - due.calls, 0),
        cents = greatest(lease.cents - coalesce(due.cents, 0), 0),
        microcents = greatest(lease.microcents - coalesce(due.microcents, 0), 0),
        tokens = greatest(lease.tokens - coalesce(due.tokens, 0), 0)
    FROM due JOIN touched USING (id)
    WHERE lease.tenant_id = %(tenant)s AND lease.id = due.id
)"""
# When a stored call was admitted: with its hold or lease; without that, by receipt, if that was
# within a minute of the call (ruling F4). Older calls are in no bucket that a limit counts.
_ADMISSIONS = f"""
    INSERT INTO cus_landed_admissions AS total
        (tenant_id, integration_id, span, start, shard, calls, tokens)
    SELECT %(tenant)s, integration_id, span, date_trunc(span, admitted, 'UTC'),
        pg_backend_pid() %% {CusAdmissions.SHARDS}, count(*),
        sum(tokens_in::bigint + tokens_out + coalesce(provisional_tokens, 0)::numeric)
    FROM (
        SELECT *, CASE WHEN admitted_at IS NULL
            THEN CASE WHEN created_at - occurred_at <= interval '60 seconds' THEN created_at END
            ELSE admitted_at END AS admitted
        FROM landed_calls WHERE policy_result <> 'blocked'
    ) AS call, (VALUES ('second', interval '2 minutes'), ('day', interval '2 days')) AS bucket(span, kept)
    WHERE admitted > now() - kept
    GROUP BY 2, 3, 4 ORDER BY 2, 3, 4
    ON CONFLICT (tenant_id, integration_id, span, start, shard) DO UPDATE SET
        calls = total.calls + excluded.calls, tokens = total.tokens + excluded.tokens
"""  # noqa: S608  (the names are this module's own)
# Everything is done in the order of its key, so that two batches can't deadlock.
_STORE = f"""
WITH sent AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(records)s::json) AS record({_RECORD_TYPE})
), {COUNTING}, fresh AS (
    INSERT INTO cus_call_ledger
        (tenant_id, call_hash, integration_id, usage_id, usage_created_at, content_hash)
    SELECT %(tenant)s, call_hash, integration_id, id, now(), content_hash FROM sent, counting
    WHERE locks > 0 AND NOT EXISTS ({OF_ANY}) ORDER BY call_hash
    ON CONFLICT DO NOTHING
    RETURNING call_hash
), landed_calls AS (
    INSERT INTO cus_llm_usage
        (tenant_id, created_at, admitted_at, {", ".join((*ESTIMATE, *_PROVISIONAL))},
        {", ".join(_SENT_COLUMNS)})
    SELECT %(tenant)s, now(), coalesce(hold.taken_at, lease.taken_at),
        {", ".join(map(set_aside, UNITS))}, {", ".join(map(_provisional, UNITS))},
        {", ".join(f"sent.{name}" for name in _SENT_COLUMNS)}
    FROM sent JOIN fresh USING (call_hash) {HOLD} LEFT JOIN LATERAL (
        SELECT taken_at, cents, microcents, tokens FROM cus_enforcement_leases
        WHERE tenant_id = %(tenant)s AND id = sent.lease_id
            AND integration_id = sent.integration_id LIMIT 1
    ) AS lease ON true
    RETURNING id, call_id, integration_id, provider, model, policy_result, error_code, created_at,
        occurred_at, admitted_at, latency_ms, pricing, flags, unpriced_units,
        {", ".join((*_SUMMED, *ESTIMATE, *_PROVISIONAL))}
), lifetime AS (
    {_upsert_totals("cus_lifetime_totals", integration_id="integration_id", provider="provider", model="model")}
), period AS (
    {_upsert_totals("cus_period_totals", integration_id="integration_id", period="date_trunc('month', now() AT TIME ZONE 'UTC')::date")}
), outcomes AS (
    {OUTCOMES}
), admissions AS (
    {_ADMISSIONS}
), {RELEASED}
SELECT call_hash FROM sent WHERE call_hash NOT IN (SELECT call_hash FROM fresh)
"""  # noqa: S608  (the names are this module's and the models' own)
