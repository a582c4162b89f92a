"""The read side of evidence: sums and counts over what is stored."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from telemetry.cus_evidence_store import STORED_CALLS
from telemetry.cus_ids import hash_call_id


@dataclass(frozen=True)
class UsageSums:
    """Sums over usage rows. Costs in cents as reported, and in exact microcents."""

    rows: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_cents: int = 0
    cost_microcents: int = 0


_SUMS_OF_CALLS = f"""
SELECT count(usage.id),
    coalesce(sum(usage.tokens_in), 0)::bigint, coalesce(sum(usage.tokens_out), 0)::bigint,
    coalesce(sum(usage.cost_cents), 0)::bigint, coalesce(sum(usage.cost_microcents), 0)::bigint
{STORED_CALLS}
"""


def sums_of_calls(tenant_id: uuid.UUID, call_ids: Sequence[str]) -> UsageSums:
    """What is stored under these call ids of a tenant."""
    with connection.cursor() as cursor:
        hashes = [hash_call_id(name) for name in call_ids]
        cursor.execute(_SUMS_OF_CALLS, {"tenant": tenant_id, "hashes": hashes})
        return UsageSums(*cursor.fetchone())
