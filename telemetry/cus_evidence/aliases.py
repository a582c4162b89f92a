"""Call ids whose usage stands in the row of another call id (ruling M5b).

A call whose answer was reported first has no row of its own: the answer's row counts it. Its id goes
into the ledger, which leads to that row, so the call is recorded for good; its hold and its share of a
lease end as if it had a row.
"""

import uuid
from collections.abc import Iterable

import msgspec

from telemetry.cus_connections import Cursor
from telemetry.cus_evidence.evidence_row import EvidenceRow
from telemetry.cus_evidence.models import CusCallLedger
from telemetry.cus_evidence.store import (
    COUNTING,
    ESTIMATE,
    HOLD,
    OF_ANY,
    RELEASED,
    UNITS,
    set_aside,
)
from telemetry.cus_evidence.usage_record import Reserved


class Alias(msgspec.Struct, gc=False):
    """A reported call id, and the call hash by which the ledger leads to its row."""

    call_hash: str
    row_hash: str
    content_hash: str
    integration_id: uuid.UUID
    call_id: str
    lease_id: uuid.UUID | None
    reserved: Reserved | None

    @classmethod
    def of(cls, row: EvidenceRow, row_hash: str) -> "Alias":
        """The alias of what would have been stored as this row."""
        return cls(
            row.call_hash,
            row_hash,
            row.content_hash,
            row.integration_id,
            row.call_id,
            row.lease_id,
            row.reserved,
        )


# In the order of its key, as `store_batch` does.
_STORE_ALIASES = f"""
WITH sent AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(aliases)s::json) AS alias(call_hash uuid, row_hash uuid,
        content_hash uuid, integration_id uuid, call_id text, lease_id uuid, reserved jsonb)
), {COUNTING}, fresh AS (
    INSERT INTO cus_call_ledger
        (tenant_id, call_hash, integration_id, usage_id, usage_created_at, content_hash)
    SELECT %(tenant)s, sent.call_hash, sent.integration_id, known.usage_id, known.usage_created_at,
        sent.content_hash
    FROM sent CROSS JOIN counting CROSS JOIN LATERAL (
        SELECT usage_id, usage_created_at FROM cus_call_ledger
        WHERE tenant_id = %(tenant)s AND call_hash = sent.row_hash
            AND integration_id IN (sent.integration_id, '{CusCallLedger.ANY_INTEGRATION}') LIMIT 1
    ) AS known
    WHERE locks > 0 AND NOT EXISTS ({OF_ANY}) ORDER BY sent.call_hash
    ON CONFLICT DO NOTHING
    RETURNING call_hash, usage_id, usage_created_at
), landed_calls AS (
    INSERT INTO cus_call_aliases (tenant_id, integration_id, call_id, usage_id, usage_created_at,
        lease_id, {", ".join(ESTIMATE)}, created_at)
    SELECT %(tenant)s, sent.integration_id, sent.call_id, fresh.usage_id, fresh.usage_created_at,
        sent.lease_id, {", ".join(map(set_aside, UNITS))}, now()
    FROM sent JOIN fresh USING (call_hash) {HOLD}
    RETURNING call_id
), {RELEASED}
SELECT
"""  # noqa: S608  (the names are this module's and the models' own)


def store_aliases(cursor: Cursor, tenant_id: uuid.UUID, aliases: Iterable[Alias]) -> None:
    """Record the call ids that are new to their integration: its ledger leads to their rows.

    The aliases are of one integration and name no call twice. The rows are in the ledger already.
    """
    sent = list(aliases)
    if sent:
        names = {"tenant": tenant_id, "aliases": msgspec.json.encode(sent).decode()}
        cursor.execute(_STORE_ALIASES, names)
