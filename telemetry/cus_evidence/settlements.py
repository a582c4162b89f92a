"""Usage that becomes known after its call was stored as unmeasured (ruling M5b).

Two kinds of reports settle a call: one under the call's own id, and one of a process that only has
the provider's answer, whose call id is made of the answer's id (`settlement_call_id`).
"""

import hashlib
import uuid
from collections.abc import Collection
from typing import Any

import msgspec

from aos_sdk.cus_fields import TOKEN_NAMES
from aos_sdk.cus_wire import settlement_call_id
from telemetry.cus_connections import Cursor
from telemetry.cus_evidence.models import CusLLMUsage, CusUsageSettlement
from telemetry.cus_evidence.records import UsageRecord
from telemetry.cus_evidence.store import POSTGRES_TYPES, EvidenceRow, read_row, usage_columns
from telemetry.cus_ids import uuid7

# What two reports of one answer must agree on.
_FACTS = (*TOKEN_NAMES, "tokens_total", "billed_units", "turns", "service_tier")
# An integration's answers share so many locks: a batch may name a thousand answers, and PostgreSQL
# keeps the locks of all connections in a memory of fixed size.
_LOCKS = 16
_BESIDE = ("tenant_id", "created_at", "usage_created_at")
_FIELDS = [field for field in CusUsageSettlement._meta.fields if field.attname not in _BESIDE]
_COLUMNS = ", ".join(field.attname for field in _FIELDS)
_TYPES = ", ".join(
    f"{field.attname} {POSTGRES_TYPES[field.get_internal_type()]}" for field in _FIELDS
)
_OF_ROW = frozenset({"id", "usage_id", "occurred_at"})


def settles_by_response(record: UsageRecord) -> bool:
    """Whether the record says what an answer used whose call another process may have made."""
    response_id = record.response_id
    return response_id is not None and record.call_id == settlement_call_id(response_id)


def lock_responses(
    cursor: Cursor, integration_id: uuid.UUID, response_ids: Collection[str]
) -> None:
    """Wait for others that store calls or settlements of these answers, until the commit.

    A call and the report that settles it may come at one moment, and neither sees the other's row.
    """
    # In the order of their numbers, so that two batches can't deadlock.
    keys = sorted({_lock_key(integration_id, response_id) for response_id in response_ids})
    cursor.execute("SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key", [keys])


def _lock_key(integration_id: uuid.UUID, response_id: str) -> int:
    bucket = hashlib.sha256(response_id.encode()).digest()[0] % _LOCKS
    digest = hashlib.sha256(integration_id.bytes + bytes((bucket,))).digest()
    return int.from_bytes(digest[:8], signed=True)


_UNMEASURED = f"""
SELECT {usage_columns("usage")}
FROM unnest(%(responses)s::text[]) AS wanted(response_id) CROSS JOIN LATERAL (
    SELECT * FROM cus_llm_usage WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s
        AND response_id = wanted.response_id AND pricing = 'unmeasured'
    ORDER BY created_at LIMIT 1
) AS usage
"""  # noqa: S608  (the names are the model's own)


def unmeasured_calls(
    cursor: Cursor, tenant_id: uuid.UUID, integration_id: uuid.UUID, response_ids: Collection[str]
) -> dict[str, CusLLMUsage]:
    """An integration's calls of unknown usage, by the provider's ids of their answers."""
    names: dict[str, Any] = {"tenant": tenant_id, "integration": integration_id}
    cursor.execute(_UNMEASURED, names | {"responses": list(response_ids)})
    rows = filter(None, map(read_row, cursor.fetchall()))
    return {row.response_id: row for row in rows if row.response_id}


# The totals follow by a trigger of the table, in this statement.
_APPEND = f"""
INSERT INTO cus_usage_settlements (tenant_id, usage_created_at, {_COLUMNS})
SELECT %(tenant)s, %(usage_created_at)s, {_COLUMNS}
FROM json_to_record(%(settlement)s::json) AS settlement({_TYPES})
ON CONFLICT (tenant_id, usage_id) DO NOTHING RETURNING id
"""  # noqa: S608  (the names are the model's own)


def append_settlement(cursor: Cursor, usage: CusLLMUsage, row: EvidenceRow) -> bool:
    """Append what a call used, priced as `row`; False if the call is settled already."""
    settlement = {
        field.attname: getattr(row, field.attname)
        for field in _FIELDS
        if field.attname not in _OF_ROW
    }
    settlement |= {"id": uuid7(), "usage_id": usage.id, "occurred_at": usage.occurred_at}
    names = {
        "tenant": usage.tenant_id,
        "usage_created_at": usage.created_at,
        "settlement": msgspec.json.encode(settlement).decode(),
    }
    cursor.execute(_APPEND, names)
    return cursor.fetchone() is not None


def settlement_of(usage: CusLLMUsage) -> CusUsageSettlement:
    """The settlement of a call. Raises CusUsageSettlement.DoesNotExist."""
    return CusUsageSettlement.objects.get(tenant_id=usage.tenant_id, usage_id=usage.id)


def differing_usage(record: UsageRecord, stored: CusLLMUsage | CusUsageSettlement) -> list[str]:
    """The fields in which a report says that an answer used something else than what is stored.

    Two processes that read one answer report it at other times, so nothing but usage is compared.
    """
    return [
        name
        for name in _FACTS
        if msgspec.to_builtins(getattr(record, name)) != getattr(stored, name)
    ]
