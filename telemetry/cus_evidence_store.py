"""The one statement that stores a batch of evidence, and the one that compares replays.

Ledger, rows and totals change in a single statement, so a call is either known, stored and
counted, or none of the three (rulings E1, E2, E8). A statement can't see what another
transaction committed after it began, so records that turn out not to be new are compared
by a second one.
"""

import hashlib
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connections

from telemetry.cus_models import CusLifetimeTotals, CusLLMUsage

SHARDS = 8


class EvidenceRow(msgspec.Struct):
    """A usage row as it will be stored, with what the ledger needs to know of it."""

    id: uuid.UUID
    call_hash: uuid.UUID
    content_hash: uuid.UUID
    integration_id: uuid.UUID
    session_id: str | None
    agent_id: str | None
    call_id: str
    provider: str
    model: str
    operation: str
    stream: bool
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tokens_cache_write: int
    tokens_cache_write_1h: int
    tokens_reasoning: int
    tokens_audio_in: int
    tokens_audio_out: int
    tokens_image_in: int
    tokens_total: int | None
    service_tier: str | None
    billed_units: dict[str, Any] | None
    cost_cents: int
    cost_microcents: int
    pricing: str
    pricing_version: str | None
    price_id: uuid.UUID | None
    reported_pricing_version: str | None
    latency_ms: int | None
    policy_result: str
    error_code: str | None
    error_message: str | None
    metadata: dict[str, Any]
    flags: list[str]
    sent_timestamp: str | None
    process_id: str | None
    sequence: int | None
    lease_id: uuid.UUID | None
    degraded: bool
    occurred_at: datetime


class KnownCall(msgspec.Struct):
    """A call id that the ledger held already; `row` is None once retention dropped its month."""

    content_hash: uuid.UUID
    usage_id: uuid.UUID
    row: CusLLMUsage | None


def hash_call_id(call_id: str) -> uuid.UUID:
    """128 bits of the call id's SHA-256: the ledger's key within a tenant."""
    return uuid.UUID(bytes=hashlib.sha256(call_id.encode()).digest()[:16])


def store_batch(
    tenant_id: uuid.UUID, rows: Sequence[EvidenceRow], *, using: str = "default"
) -> set[uuid.UUID]:
    """Store the rows whose call id is new; says which were, by call hash.

    `rows` must not name a call twice. Committed when the surrounding transaction is; outside
    of one, when this returns.
    """
    with connections[using].cursor() as cursor:
        # The records travel as one JSON text, which PostgreSQL unpacks.
        records = msgspec.json.encode(rows).decode()
        cursor.execute(_STORE, {"tenant": tenant_id, "records": records})
        return {call_hash for (call_hash,) in cursor.fetchall()}


def known_calls(
    tenant_id: uuid.UUID, call_hashes: Sequence[uuid.UUID], *, using: str = "default"
) -> dict[uuid.UUID, KnownCall]:
    """What is stored under these call hashes, by call hash."""
    with connections[using].cursor() as cursor:
        cursor.execute(_KNOWN, {"tenant": tenant_id, "hashes": list(call_hashes)})
        found = cursor.fetchall()
    return {
        call_hash: KnownCall(
            content_hash,
            usage_id,
            CusLLMUsage(**dict(zip(_USAGE_COLUMNS, row, strict=True))) if row[0] else None,
        )
        for call_hash, content_hash, usage_id, *row in found
    }


_POSTGRES_TYPES = {
    "UUIDField": "uuid",
    "CharField": "text",
    "TextField": "text",
    "JSONField": "jsonb",
    "BooleanField": "boolean",
    "PositiveIntegerField": "integer",
    "PositiveBigIntegerField": "bigint",
    "DateTimeField": "timestamptz",
}
_USAGE_COLUMNS = [field.attname for field in CusLLMUsage._meta.fields]
_LEDGER_COLUMNS = ("call_hash", "content_hash")
_SENT_COLUMNS = [name for name in EvidenceRow.__struct_fields__ if name not in _LEDGER_COLUMNS]
_RECORD_TYPE = ", ".join(
    f"{name} uuid"
    if name in _LEDGER_COLUMNS
    else f"{name} {_POSTGRES_TYPES[CusLLMUsage._meta.get_field(name).get_internal_type()]}"
    for name in EvidenceRow.__struct_fields__
)


# What a total sums, over the rows that were stored. Blocked calls did not run (ruling E8).
def _sum(column: str) -> str:
    # A row's cost has no bound but its type's: many absurd ones must not overflow the total and
    # so stop everybody's ingest. Beyond what a total can hold it stays at its end.
    return f"least(sum({column}), {_MOST})::bigint"


_MOST = 2**63 - 1
_SUMS = {
    "calls": "count(*) FILTER (WHERE policy_result <> 'blocked')",
    "errors": "count(*) FILTER (WHERE policy_result <> 'blocked' AND error_code IS NOT NULL)",
    "blocked": "count(*) FILTER (WHERE policy_result = 'blocked')",
    "unpriced": "count(*) FILTER (WHERE pricing = 'unknown')",
    "cost_mismatches": "count(*) FILTER (WHERE flags @> '[\"cost_mismatch\"]')",
    "tokens_mismatches": "count(*) FILTER (WHERE flags @> '[\"tokens_mismatch\"]')",
    "tokens_in": _sum("tokens_in"),
    "tokens_out": _sum("tokens_out"),
    "cost_cents": _sum("cost_cents"),
    "cost_microcents": _sum("cost_microcents"),
}
_TOTALS = CusLifetimeTotals._meta.db_table


def _plus(name: str) -> str:
    return f"least(total.{name}::numeric + excluded.{name}, {_MOST})::bigint"


# Everything is done in the order of its key, so that two batches can't deadlock.
_STORE = f"""
WITH sent AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(records)s::json) AS record({_RECORD_TYPE})
), fresh AS (
    INSERT INTO cus_call_ledger
        (tenant_id, call_hash, usage_id, usage_created_at, content_hash)
    SELECT %(tenant)s, call_hash, id, now(), content_hash FROM sent ORDER BY call_hash
    ON CONFLICT DO NOTHING
    RETURNING call_hash
), stored AS (
    INSERT INTO cus_llm_usage (tenant_id, created_at, {", ".join(_SENT_COLUMNS)})
    SELECT %(tenant)s, now(), {", ".join(_SENT_COLUMNS)} FROM sent JOIN fresh USING (call_hash)
    RETURNING integration_id, provider, model, policy_result, error_code, pricing, flags,
        tokens_in, tokens_out, cost_cents, cost_microcents
), totals AS (
    INSERT INTO {_TOTALS} AS total
        (tenant_id, integration_id, provider, model, shard, {", ".join(_SUMS)})
    SELECT %(tenant)s, integration_id, provider, model, pg_backend_pid() %% {SHARDS},
        {", ".join(_SUMS.values())}
    FROM stored GROUP BY integration_id, provider, model ORDER BY integration_id, provider, model
    ON CONFLICT (tenant_id, integration_id, provider, model, shard) DO UPDATE SET
        {", ".join(f"{name} = {_plus(name)}" for name in _SUMS)}
)
SELECT call_hash FROM fresh
"""  # noqa: S608  (the names are this module's and the models' own)

_KNOWN = f"""
SELECT ledger.call_hash, ledger.content_hash, ledger.usage_id,
    {", ".join(f"usage.{name}" for name in _USAGE_COLUMNS)}
FROM cus_call_ledger AS ledger LEFT JOIN cus_llm_usage AS usage ON
    (usage.tenant_id, usage.created_at, usage.id)
    = (ledger.tenant_id, ledger.usage_created_at, ledger.usage_id)
WHERE ledger.tenant_id = %(tenant)s AND ledger.call_hash = ANY(%(hashes)s)
"""  # noqa: S608
