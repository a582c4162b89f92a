"""Does every stored cost still follow from the price that it names? (§11.5, ruling M6)"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from aos_sdk.cus_cost import calculate_cost, calculate_cost_microcents
from telemetry.cus_evidence.models import CusLLMUsage, CusUsageSettlement
from telemetry.cus_money.billed_usage import microcents_of
from telemetry.cus_money.models import CusKeptPrice, PriceSource
from telemetry.cus_money.pricing import kept_pricing

_CHUNK = 2_000
# §11.5's checklist by rulings M1 and M2: model, tokens in, tokens out, cents, microcents.
CHECKLIST = (
    ("gpt-4o", 1_000, 500, 1, 750_000),
    ("gpt-4o-mini", 10_000, 5_000, 1, 450_000),
    ("claude-sonnet-4", 1_000, 500, 2, 1_050_000),
    ("claude-opus-4", 1_000, 500, 6, 5_250_000),
    ("o1", 1_000, 500, 5, 4_500_000),
)


Priced: TypeAlias = CusLLMUsage | CusUsageSettlement


@dataclass(frozen=True)
class CostDifference:
    """A row whose stored cost is not what its price gives; costs in microcents."""

    usage: Priced
    recomputed: int | None
    reason: str


def failed_checks() -> list[str]:
    """Those models of §11.5's checklist that do not cost what it says; none expected."""
    return [
        model
        for model, tokens_in, tokens_out, cents, microcents in CHECKLIST
        if calculate_cost(model, tokens_in, tokens_out) != cents
        or calculate_cost_microcents(model, tokens_in, tokens_out) != microcents
    ]


def rows_received(
    start: datetime, end: datetime, tenant_id: UUID | None = None
) -> Iterator[CusLLMUsage]:
    """The usage rows received from `start` up to, not including, `end`."""
    rows = CusLLMUsage.objects.filter(created_at__gte=start, created_at__lt=end)
    if tenant_id:
        rows = rows.filter(tenant_id=tenant_id)
    return rows.order_by("created_at").iterator(chunk_size=_CHUNK)


def settlements_received(
    start: datetime, end: datetime, tenant_id: UUID | None = None
) -> Iterator[CusUsageSettlement]:
    """The settlements received from `start` up to, not including, `end`."""
    settlements = CusUsageSettlement.objects.filter(created_at__gte=start, created_at__lt=end)
    if tenant_id:
        settlements = settlements.filter(tenant_id=tenant_id)
    return settlements.order_by("created_at").iterator(chunk_size=_CHUNK)


def _unpriced_cost(row: Priced) -> int | None:
    """What a row that names no price costs: nothing, or what the provider's answer says."""
    if row.pricing == PriceSource.PROVIDER:
        return row.provider_cost_microcents
    return 0 if row.pricing in (PriceSource.UNKNOWN, PriceSource.UNMEASURED) else None


def difference(row: Priced) -> CostDifference | None:
    """What is wrong with a row's stored cost; None if nothing is."""
    if row.price_id is None:
        if row.cost_microcents == _unpriced_cost(row):
            return None
        return CostDifference(row, None, "names no price")
    try:
        recomputed = microcents_of(row, kept_pricing(row.price_id))
    except CusKeptPrice.DoesNotExist:
        return CostDifference(row, None, "its price was not kept")
    if recomputed == row.cost_microcents:
        return None
    return CostDifference(row, recomputed, "its price gives another cost")
