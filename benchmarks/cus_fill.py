"""Rows by the million, made by PostgreSQL itself in the shape that ingest gives them."""

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connections
from psycopg import sql

from benchmarks.cus_databases import (
    Sender,
    month_start,
    new_database,
    owner_of,
    superuser,
    totals_tables,
)
from benchmarks.cus_sizes import Sizes
from telemetry.cus_evidence.partitions import Month, make_partitions

_CHUNK = 50_000
_CONNECTIONS = 2
_OTHER_INTEGRATIONS = 2_000
# Ids and call ids begin with when they were made, as ours do. The ledger's key is the hash of the
# call id, as ours is, so that filling it has touched its index everywhere.
FILL = """
WITH made AS (
    INSERT INTO cus_llm_usage (id, tenant_id, integration_id, session_id, agent_id, call_id,
        provider, model, operation, tokens_in, tokens_out, cost_cents, cost_microcents,
        counted_cents, pricing, latency_ms, metadata, occurred_at, created_at)
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
            || substr(md5(n::text || 'id'), 1, 3) || 'b' || substr(md5(n::text), 1, 15))::uuid,
        %(tenant)s, (%(integrations)s::uuid[])[n %% 12 + 1], md5((n / 20)::text),
        'agent-' || n %% 20, md5((n / 10000)::text) || '-' || to_hex(n),
        'openai', (ARRAY['gpt-4o', 'gpt-4o-mini', 'gpt-4.1', 'o3-mini'])[n %% 4 + 1], 'chat',
        50 + n %% 8000, 1 + n %% 1200, 1, 12345 + n %% 1000, 1, 'table',
        200 + n %% 20000, '{"feature": "search"}', at, at
    FROM generate_series(%(low)s::bigint, %(high)s::bigint) AS n,
        LATERAL (SELECT %(start)s + n * %(step)s::interval AS at) AS moment
    RETURNING tenant_id, integration_id, call_id, id, created_at
)
INSERT INTO cus_call_ledger
    (tenant_id, integration_id, call_hash, usage_id, usage_created_at, content_hash)
SELECT tenant_id, integration_id, encode(substr(sha256(call_id::bytea), 1, 16), 'hex')::uuid, id, created_at,
    md5(call_id)::uuid
FROM made
"""
# Eight shards, as the product keeps them.
_TOTALS = """
INSERT INTO {table} (tenant_id, integration_id, shard, {keys}, tokens_in, tokens_out, cost_cents,
    cost_microcents, counted_cents, calls)
SELECT tenant_id, integration_id, hashtext(call_id) & 7, {values}, sum(tokens_in),
    sum(tokens_out), sum(cost_cents), sum(cost_microcents), sum(counted_cents), count(*)
FROM cus_llm_usage WHERE tenant_id = %(tenant)s GROUP BY 1, 2, 3, {values}
"""
# A tenant with a few thousand integrations, so that a read has to find its own.
_OTHER_TOTALS = """
INSERT INTO {table} (tenant_id, integration_id, shard, {keys}, tokens_in)
SELECT %(tenant)s, md5((n / 8)::text)::uuid, n %% 8, {values}, n
FROM generate_series(0, %(others)s * 8 - 1) AS n, LATERAL (SELECT 'openai' AS provider,
    'gpt-4o' AS model, now() AS created_at) AS usage
"""
_KEYS = {
    "provider": "provider",
    "model": "model",
    "period": "date_trunc('month', created_at AT TIME ZONE 'UTC')::date",
}


@dataclass(frozen=True)
class Filled:
    """A database with rows in it, and how many of them which integration has."""

    database: str
    tenant_id: uuid.UUID
    integrations: Sequence[tuple[uuid.UUID, int]]


def fill_this_month(name: str, sizes: Sizes, sender: Sender) -> Filled:
    """All rows in the partition that ingest goes on writing to, with their totals."""
    shares = [(sender.principal.integration_id, sizes.twelfths[0])]
    shares += [(uuid.uuid4(), share) for share in sizes.twelfths[1:]]
    now = datetime.now(UTC)
    database = new_database(name)
    integrations = [who for who, share in shares for _ in range(share)]
    owner = sender.principal.tenant_id
    fill_span(database, sizes.filled_rows, integrations, owner, (month_start(now), now))
    rows = [(who, sizes.filled_rows * share // 12) for who, share in shares]
    filled = Filled(database, sender.principal.tenant_id, sorted(rows, key=lambda row: row[1]))
    fill_totals(filled)
    settle(database)
    return filled


def fill_past_year(name: str, sizes: Sizes, sender: Sender) -> str:
    """As many rows in the twelve months before this one, which is empty: the thirteenth."""
    now = datetime.now(UTC)
    database = new_database(name)
    first = Month.of(now).shifted(-12)
    for offset in range(1, 13):
        make_partitions(first.shifted(offset).start, using=owner_of(database))
    everything = [sender.principal.integration_id] * 12
    owner = sender.principal.tenant_id
    fill_span(database, sizes.filled_rows, everything, owner, (first.start, month_start(now)))
    settle(database)
    return database


def fill_span(
    database: str,
    rows: int,
    integrations: Sequence[uuid.UUID],
    tenant_id: uuid.UUID,
    span: tuple[datetime, datetime],
) -> None:
    """Rows at even distances in the span, in turn of each of the twelve integrations."""
    start, end = span
    values = {
        "tenant": tenant_id,
        "integrations": list(integrations),
        "start": start,
        "step": (end - start) / rows,
    }

    def one_chunk(low: int) -> None:
        with superuser(database) as connection:
            connection.execute("SET synchronous_commit = off")
            high = min(low + _CHUNK, rows) - 1
            connection.execute(FILL, values | {"low": low, "high": high})

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(one_chunk, range(0, rows, _CHUNK)))


def fill_totals(filled: Filled) -> None:
    """Make the totals of the rows, as ingest keeps them."""
    values = {"tenant": filled.tenant_id, "others": _OTHER_INTEGRATIONS}
    tables = totals_tables(filled.database)
    with superuser(filled.database) as connection:
        for table, columns in tables.items():
            keys = [name for name in _KEYS if name in columns]
            names = {
                "table": sql.Identifier(table),
                "keys": sql.SQL(", ".join(keys)),
                "values": sql.SQL(", ".join(_KEYS[name] for name in keys)),
            }
            for statement in (_TOTALS, _OTHER_TOTALS):
                connection.execute(sql.SQL(statement).format(**names), values)


def settle(database: str) -> None:
    """Do now what autovacuum and the checkpointer would do later, in the middle of a contest."""
    connections.close_all()
    with superuser(database) as connection:
        for statement in ("VACUUM (ANALYZE)", "CHECKPOINT"):
            connection.execute(statement)
