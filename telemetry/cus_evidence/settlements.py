"""Usage that becomes known after its call was stored as unmeasured (ruling M5b).

Two kinds of reports settle a call: one under the call's own id, and one of a process that only has
the provider's answer, whose call id is made of the answer's id (`settlement_call_id`).
"""

import hashlib
import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

from aos_sdk.cus_fields import TOKEN_NAMES
from aos_sdk.cus_wire import settlement_call_id
from telemetry.cus_connections import Cursor
from telemetry.cus_evidence.evidence_row import EvidenceRow
from telemetry.cus_evidence.models import CusCallLedger, CusLLMUsage, CusUsageSettlement
from telemetry.cus_evidence.store import POSTGRES_TYPES
from telemetry.cus_evidence.stored_calls import read_row, usage_columns
from telemetry.cus_evidence.usage_record import UsageRecord
from telemetry.cus_ids import hash_call_id, uuid7
from telemetry.cus_money.models import PriceSource

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
# Flags the settlement of a call whose answer is counted with another call of the same answer.
SAME_ANSWER = "same_answer"


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
    ORDER BY created_at, id LIMIT 1
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


class OtherCall(msgspec.Struct, gc=False):
    """A call of unknown usage that has not been settled."""

    id: uuid.UUID
    created_at: datetime
    occurred_at: datetime
    model: str
    response_id: str


_UNSETTLED = f"""
SELECT {", ".join(f"usage.{name}" for name in OtherCall.__struct_fields__)}
FROM unnest(%(responses)s::text[]) AS wanted(response_id) CROSS JOIN LATERAL (
    SELECT * FROM cus_llm_usage WHERE tenant_id = %(tenant)s AND integration_id = %(integration)s
        AND response_id = wanted.response_id AND pricing = 'unmeasured'
) AS usage WHERE NOT EXISTS (
    SELECT FROM cus_usage_settlements AS settlement
    WHERE settlement.tenant_id = %(tenant)s AND settlement.usage_id = usage.id OFFSET 0)
"""  # noqa: S608  (the names are the struct's own)


def unsettled_calls(
    cursor: Cursor, tenant_id: uuid.UUID, integration_id: uuid.UUID, response_ids: Collection[str]
) -> list[OtherCall]:
    """All calls of an integration that name these answers and whose usage is still unknown."""
    names: dict[str, Any] = {"tenant": tenant_id, "integration": integration_id}
    cursor.execute(_UNSETTLED, names | {"responses": list(response_ids)})
    return [OtherCall(*values) for values in cursor.fetchall()]


# The totals follow by a trigger of the table, in this statement.
_APPEND = f"""
INSERT INTO cus_usage_settlements (tenant_id, usage_created_at, {_COLUMNS})
SELECT %(tenant)s, usage_created_at, {_COLUMNS}
FROM json_to_recordset(%(settlements)s::json)
    AS settlement(usage_created_at timestamptz, {_TYPES}) ORDER BY usage_id
ON CONFLICT (tenant_id, usage_id) DO NOTHING RETURNING usage_id
"""  # noqa: S608  (the names are the model's own)


def append_settlements(
    cursor: Cursor, tenant_id: uuid.UUID, settlements: Sequence[dict[str, Any]]
) -> set[uuid.UUID]:
    """Append settlements in one statement; returns the ids of the rows that had none before."""
    if not settlements:
        return set()
    names = {"tenant": tenant_id, "settlements": msgspec.json.encode(settlements).decode()}
    cursor.execute(_APPEND, names)
    return {usage_id for (usage_id,) in cursor.fetchall()}


def settlement(usage: CusLLMUsage, row: EvidenceRow) -> dict[str, Any]:
    """The settlement of a call by what it used, priced as `row`."""
    facts = {
        field.attname: getattr(row, field.attname)
        for field in _FIELDS
        if field.attname not in _OF_ROW
    }
    return facts | _settled_row(usage)


def settlement_of_other(usage: OtherCall, row: EvidenceRow) -> dict[str, Any]:
    """The settlement of a further call that names the answer of `row`: one answer is billed once."""
    return {
        **dict.fromkeys((*TOKEN_NAMES, "cost_cents", "cost_microcents", "counted_cents"), 0),
        "integration_id": row.integration_id,
        "call_id": row.call_id,
        "response_id": usage.response_id,
        "model": usage.model,
        "pricing": PriceSource.UNMEASURED,
        "flags": [SAME_ANSWER],
        **_settled_row(usage),
    }


def _settled_row(usage: CusLLMUsage | OtherCall) -> dict[str, Any]:
    return {
        "id": uuid7(),
        "usage_id": usage.id,
        "usage_created_at": usage.created_at,
        "occurred_at": usage.occurred_at,
    }


def settlement_of(usage: CusLLMUsage) -> CusUsageSettlement:
    """The settlement that says what a call's answer used. Raises CusUsageSettlement.DoesNotExist.

    The call's own, or that of the first call which names the same answer.
    """
    settlements = CusUsageSettlement.objects.filter(tenant_id=usage.tenant_id)
    own = settlements.get(usage_id=usage.id)
    if SAME_ANSWER not in own.flags:
        return own
    entry = CusCallLedger.objects.get(
        tenant_id=usage.tenant_id,
        integration_id=usage.integration_id,
        call_hash=hash_call_id(own.call_id),
    )
    return settlements.get(usage_id=entry.usage_id)


def differing_usage(record: UsageRecord, stored: CusLLMUsage | CusUsageSettlement) -> list[str]:
    """The fields in which a report says that an answer used something else than what is stored.

    Two processes that read one answer report it at other times, so nothing but usage is compared.
    """
    return [
        name
        for name in _FACTS
        if msgspec.to_builtins(getattr(record, name)) != getattr(stored, name)
    ]
