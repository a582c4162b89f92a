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
FROM cus_call_ledger AS ledger JOIN cus_llm_usage AS usage ON
    (usage.tenant_id, usage.created_at, usage.id)
    = (ledger.tenant_id, ledger.usage_created_at, ledger.usage_id)
WHERE ledger.tenant_id = %s AND ledger.call_hash = ANY(%s)
"""


def sums_of_calls(tenant_id: uuid.UUID, call_ids: Sequence[str]) -> UsageSums:
    """What is stored under these call ids of a tenant."""
    with connection.cursor() as cursor:
        cursor.execute(_SUMS_OF_CALLS, [tenant_id, [hash_call_id(name) for name in call_ids]])
        return UsageSums(*cursor.fetchone())
