"""The read side of evidence: sums and counts over what is stored."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from telemetry.cus_evidence_store import hash_call_id


@dataclass(frozen=True)
class UsageSums:
    """Sums over usage rows. Costs in cents as reported, and in exact microcents."""

    rows: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_cents: int = 0
    cost_microcents: int = 0


_SUMS_OF_CALLS = """
SELECT count(*), coalesce(sum(tokens_in), 0)::bigint, coalesce(sum(tokens_out), 0)::bigint,
    coalesce(sum(cost_cents), 0)::bigint, coalesce(sum(cost_microcents), 0)::bigint
FROM unnest(%(hashes)s::uuid[]) AS wanted(call_hash)
CROSS JOIN LATERAL (
    SELECT * FROM cus_call_ledger
    WHERE tenant_id = %(tenant)s AND call_hash = wanted.call_hash LIMIT 1
) AS ledger
CROSS JOIN LATERAL (
    SELECT * FROM cus_llm_usage
    WHERE tenant_id = %(tenant)s AND created_at = ledger.usage_created_at
        AND id = ledger.usage_id LIMIT 1
) AS usage
"""


def sums_of_calls(tenant_id: uuid.UUID, call_ids: Sequence[str]) -> UsageSums:
    """What is stored under these call ids of a tenant."""
    with connection.cursor() as cursor:
        hashes = [hash_call_id(name) for name in call_ids]
        cursor.execute(_SUMS_OF_CALLS, {"tenant": tenant_id, "hashes": hashes})
        return UsageSums(*cursor.fetchone())
