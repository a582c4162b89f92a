"""Corrections of costs whose price was wrong: added, never written over (ruling M9)."""

import uuid
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

import msgspec
from django.db import connection, transaction
from django.db.models import Sum

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_evidence.models import CusLLMUsage, CusUsageSettlement
from telemetry.cus_ids import uuid7
from telemetry.cus_money.billed_usage import microcents_of
from telemetry.cus_money.billing_places import lacks_place
from telemetry.cus_money.pricing import (
    AppliedPrice,
    BilledCall,
    CusPricer,
    keep_prices,
)

_CHUNK = 500
# Two repricings at once would both find the same rows to be wrong.
_LOCK_KEY = 0x6375735F7270  # "cus_rp"


@dataclass(frozen=True)
class Repriced:
    """What one chunk of rows came to. Differences in microcents, as corrected less as recorded.

    `without_place` are those whose price depends on a region that their rows do not tell: they are
    at the plain price. `without_price` are those whose model has no price, `unmeasured` those whose
    usage is unknown: both are left alone.
    """

    rows: int = 0
    adjusted: int = 0
    difference_microcents: int = 0
    without_place: int = 0
    without_price: int = 0
    unmeasured: int = 0

    def __add__(self, other: "Repriced") -> "Repriced":
        return Repriced(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class _Adjustment(msgspec.Struct):
    id: uuid.UUID
    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    usage_id: uuid.UUID
    usage_created_at: datetime
    number: int
    old_price_id: uuid.UUID | None
    new_price_id: uuid.UUID
    old_version: str | None
    new_version: str
    difference_microcents: int
    occurred_at: datetime


def reprice(
    model: str | None, start: datetime, end: datetime, *, tenant_id: uuid.UUID | None = None
) -> Iterator[Repriced]:
    """Adjust the calls of a model that occurred in [start, end) to what they cost by today's prices.

    None stands for all models.

    A price of today that is valid from a past date is what a past call should have cost; a
    call whose model is still unknown is left alone. Yields after each chunk, which is then
    committed; stopped and begun again, or run twice, it adds nothing twice.
    """
    rows = CusLLMUsage.objects.filter(
        occurred_at__gte=start,
        occurred_at__lt=end,
        # Keeps earlier months' partitions out; a sender's clock may run a little ahead.
        created_at__gte=start - timedelta(minutes=10),
    )
    if model:
        rows = rows.filter(model=model)
    if tenant_id:
        rows = rows.filter(tenant_id=tenant_id)
    chunk: list[CusLLMUsage] = []
    for row in rows.order_by("created_at").iterator(chunk_size=_CHUNK):
        chunk.append(row)
        if len(chunk) == _CHUNK:
            yield _reprice_chunk(chunk)
            chunk = []
    if chunk:
        yield _reprice_chunk(chunk)


@transaction.atomic
def _reprice_chunk(rows: list[CusLLMUsage]) -> Repriced:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
    pricers = _pricers(rows)
    earlier = _earlier(rows)
    adjustments, prices = [], []
    measured = without_place = without_price = 0
    for row, facts in _measured(rows):
        measured += 1
        pricer = pricers[row.integration_id]
        call = BilledCall.of(row, facts)
        without_place += lacks_place(call, pricer.provider_type)
        price = pricer.price_at(call, row.occurred_at)
        without_price += price is None
        adjustment = price and _adjustment(row, facts, price, earlier.get(row.id))
        if price and adjustment:
            adjustments.append(adjustment)
            prices.append(price)
    keep_prices(prices)
    if adjustments:
        _append(adjustments)
    total = sum(adjustment.difference_microcents for adjustment in adjustments)
    return Repriced(
        rows=len(rows),
        adjusted=len(adjustments),
        difference_microcents=total,
        without_place=without_place,
        without_price=without_price,
        unmeasured=len(rows) - measured,
    )


_Facts: TypeAlias = CusLLMUsage | CusUsageSettlement


def _measured(rows: list[CusLLMUsage]) -> Iterator[tuple[CusLLMUsage, _Facts]]:
    """Each row with the facts that its cost follows from: its own, or those of its settlement.

    A call whose usage is still unknown has no cost that could be wrong (ruling M5b).
    """
    unmeasured = [row for row in rows if row.pricing == CusLLMUsage.Pricing.UNMEASURED]
    found = CusUsageSettlement.objects.filter(
        tenant_id__in={row.tenant_id for row in unmeasured},
        usage_id__in=[row.id for row in unmeasured],
    )
    settlements = {settlement.usage_id: settlement for settlement in found if unmeasured}
    for row in rows:
        if row.pricing != CusLLMUsage.Pricing.UNMEASURED:
            yield row, row
        elif row.id in settlements:
            yield row, settlements[row.id]


def _pricers(rows: list[CusLLMUsage]) -> dict[uuid.UUID, CusPricer]:
    integrations = CusIntegration.objects.in_bulk({row.integration_id for row in rows})
    return {
        integration.id: CusPricer(
            integration.tenant_id,
            integration.provider_type,
            base_url=integration.config.get("base_url"),
            integration_id=integration.id,
        )
        for integration in integrations.values()
    }


@dataclass(frozen=True)
class _Earlier:
    """What earlier adjustments of a row came to, and the price that the last one set."""

    number: int
    difference_microcents: int
    price_id: uuid.UUID
    version: str


def _earlier(rows: list[CusLLMUsage]) -> dict[uuid.UUID, _Earlier]:
    known: dict[uuid.UUID, _Earlier] = {}
    adjustments = CusCostAdjustment.objects.filter(
        tenant_id__in={row.tenant_id for row in rows}, usage_id__in=[row.id for row in rows]
    )
    for one in adjustments.order_by("number"):
        before = known.get(one.usage_id)
        difference = one.difference_microcents + (before.difference_microcents if before else 0)
        known[one.usage_id] = _Earlier(one.number, difference, one.new_price_id, one.new_version)
    return known


def _adjustment(
    row: CusLLMUsage, facts: _Facts, price: AppliedPrice, earlier: _Earlier | None
) -> _Adjustment | None:
    """The entry that brings a row to its price; None if it is there already."""
    costs = facts.cost_microcents + (earlier.difference_microcents if earlier else 0)
    difference = microcents_of(facts, price.pricing) - costs
    if not difference:
        return None
    return _Adjustment(
        id=uuid7(),
        tenant_id=row.tenant_id,
        integration_id=row.integration_id,
        usage_id=row.id,
        usage_created_at=row.created_at,
        number=earlier.number + 1 if earlier else 1,
        old_price_id=earlier.price_id if earlier else facts.price_id,
        new_price_id=price.id,
        old_version=earlier.version if earlier else facts.pricing_version,
        new_version=price.version,
        difference_microcents=difference,
        occurred_at=row.occurred_at,
    )


# What the totals say of corrections follows by a trigger of the table, in the same statement.
_APPEND = """
INSERT INTO cus_cost_adjustments (id, tenant_id, integration_id, usage_id, usage_created_at,
    number, old_price_id, new_price_id, old_version, new_version, difference_microcents,
    occurred_at)
SELECT id, tenant_id, integration_id, usage_id, usage_created_at, number, old_price_id,
    new_price_id, old_version, new_version, difference_microcents, occurred_at
FROM json_to_recordset(%(adjustments)s::json) AS entry(
    id uuid, tenant_id uuid, integration_id uuid,
    usage_id uuid, usage_created_at timestamptz, number integer, old_price_id uuid,
    new_price_id uuid, old_version text, new_version text,
    difference_microcents bigint, occurred_at timestamptz)
ORDER BY tenant_id, usage_id
"""


def _append(adjustments: list[_Adjustment]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_APPEND, {"adjustments": msgspec.json.encode(adjustments).decode()})


def corrected_microcents(row: CusLLMUsage) -> int:
    """What a row costs as settled and corrected, in microcents."""
    recorded = sum(facts.cost_microcents for _, facts in _measured([row]))
    found = CusCostAdjustment.objects.filter(tenant_id=row.tenant_id, usage_id=row.id)
    return recorded + (found.aggregate(all=Sum("difference_microcents"))["all"] or 0)
