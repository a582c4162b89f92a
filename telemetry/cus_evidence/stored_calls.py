"""What is stored under the call ids of an integration, found through the ledger."""

import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import msgspec
from django.db.models import JSONField

from telemetry.cus_connections import Cursor, evidence_cursor
from telemetry.cus_evidence.models import CusCallLedger, CusLLMUsage

_USAGE_COLUMNS = [field.attname for field in CusLLMUsage._meta.fields]
_JSON_COLUMNS = [
    field.attname for field in CusLLMUsage._meta.fields if isinstance(field, JSONField)
]


class KnownCall(msgspec.Struct):
    """A call id that the ledger held already; `row` is None once retention dropped its month."""

    content_hash: str
    usage_id: uuid.UUID
    row: CusLLMUsage | None


def known_calls(
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID,
    call_hashes: Sequence[str],
    *,
    within: Cursor | None = None,
) -> dict[str, KnownCall]:
    """What an integration has stored under these call hashes, by call hash."""
    names = {"tenant": tenant_id, "integration": integration_id, "hashes": list(call_hashes)}
    with nullcontext(within) if within else evidence_cursor() as cursor:
        cursor.execute(_KNOWN, names)
        found = cursor.fetchall()
    return {
        call_hash.hex: KnownCall(content_hash.hex, usage_id, read_row(row))
        for call_hash, content_hash, usage_id, *row in found
    }


def usage_columns(table: str) -> str:
    """The columns that `read_row` reads, as a statement selects them."""
    return ", ".join(f"{table}.{name}" for name in _USAGE_COLUMNS)


def read_row(values: Sequence[Any]) -> CusLLMUsage | None:
    """A usage row from the values of `usage_columns`; None if they are of no row."""
    row = dict(zip(_USAGE_COLUMNS, values, strict=True))
    if row["id"] is None:
        return None
    # Django reads jsonb as text, to decode it by its own rules; a bare connection decodes it.
    for name in _JSON_COLUMNS:
        if isinstance(row[name], str):
            row[name] = msgspec.json.decode(row[name])
    return CusLLMUsage(**row)


# The stored calls of an integration by the hashes of their call ids; `usage` is null once retention
# dropped the row. Key by key: a join would be planned by what the planner believes of the
# tables, and while they grow faster than they are analysed it believes that reading them whole
# is cheap.
STORED_CALLS = f"""
FROM unnest(%(hashes)s::uuid[]) AS wanted(call_hash)
CROSS JOIN LATERAL (
    SELECT * FROM cus_call_ledger
    WHERE tenant_id = %(tenant)s AND call_hash = wanted.call_hash
        AND integration_id IN (%(integration)s, '{CusCallLedger.ANY_INTEGRATION}') LIMIT 1
) AS ledger
LEFT JOIN LATERAL (
    SELECT * FROM cus_llm_usage
    WHERE tenant_id = %(tenant)s AND created_at = ledger.usage_created_at
        AND id = ledger.usage_id LIMIT 1
) AS usage ON true
"""  # noqa: S608  (the names are this module's own)

_KNOWN = f"""
SELECT ledger.call_hash, ledger.content_hash, ledger.usage_id,
    {usage_columns("usage")}
{STORED_CALLS}
"""
