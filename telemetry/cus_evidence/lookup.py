"""The read side of evidence: sums and counts over what is stored."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from aos_sdk.cus_cost import cents_of
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.stored_calls import STORED_CALLS
from telemetry.cus_ids import hash_call_id


@dataclass(frozen=True)
class UsageSums:
    """Sums over usage rows. Costs in cents as reported, and in exact microcents."""

    rows: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_cents: int = 0
    cost_microcents: int = 0


def counted_cents(row: CusLLMUsage) -> int:
    """What limits in cents count of a stored call; also of a row that does not keep it (M3a)."""
    if row.counted_cents is not None:
        return row.counted_cents
    return max(row.cost_cents, cents_of(row.cost_microcents))


# Several call ids may lead to one row, whose usage counts once.
_CALLS = f"""
SELECT DISTINCT usage.id, usage.tokens_in, usage.tokens_out, usage.cost_cents, usage.cost_microcents
{STORED_CALLS}
"""


def sums_of_calls(
    tenant_id: uuid.UUID, integration_id: uuid.UUID, call_ids: Sequence[str]
) -> UsageSums:
    """What an integration has stored under these call ids."""
    hashes = [hash_call_id(name) for name in call_ids]
    names: dict[str, Any] = {"tenant": tenant_id, "integration": integration_id, "hashes": hashes}
    with connection.cursor() as cursor:
        cursor.execute(_CALLS, names)
        rows = [values for usage_id, *values in cursor.fetchall() if usage_id is not None]
    return UsageSums(len(rows), *map(sum, zip(*rows, strict=True)))
