"""From a decoded record to the row that is stored: its time, its price, and what we noticed."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

from django.conf import settings

from aos_sdk.cus_cost import cents_of
from aos_sdk.cus_fields import TOKEN_KINDS
from aos_sdk.cus_wire import INT32_MAX, CusOperation, CusPolicyResult, mask_secrets
from integrations.cus_keys.verifier import SdkPrincipal
from integrations.cus_lifecycle.end_users import CusEndUsers
from telemetry.cus_evidence.content import content_hash, parse_timestamp
from telemetry.cus_evidence.evidence_row import EvidenceRow
from telemetry.cus_evidence.usage_record import UsageRecord
from telemetry.cus_ids import uuid7
from telemetry.cus_money.amounts import Amounts
from telemetry.cus_money.billed_usage import BilledUsage
from telemetry.cus_money.estimates import missing_estimate
from telemetry.cus_money.models import PriceSource
from telemetry.cus_money.pricing import AppliedPrice, BilledCall, CusPricer, pricings_of_version

# A sender's clock may be this much ahead of ours before we use ours instead (ruling E3).
_CLOCK_AHEAD = timedelta(minutes=5)
_LONGEST_TIMESTAMP = 50
# What a row has as its record has it, in the row's order.
_names = EvidenceRow.__struct_fields__
_as_sent = attrgetter(*_names[_names.index("call_id") : _names.index("decision") + 1])
_parts = attrgetter(*(kind.name for kind in TOKEN_KINDS if kind.part_of))


def _wholes() -> "Iterator[tuple[attrgetter[int], attrgetter[int], list[attrgetter[int]]]]":
    """Each kind of tokens that has parts, its first part and its further parts, as getters."""
    for whole in dict.fromkeys(kind.part_of for kind in TOKEN_KINDS if kind.part_of):
        first, *others = (attrgetter(kind.name) for kind in TOKEN_KINDS if kind.part_of == whole)
        yield attrgetter(whole), first, others


_WHOLES = list(_wholes())


class _Cost(NamedTuple):
    """What a call cost, by which price, or what budgets count until its usage is known."""

    microcents: int
    source: str
    price: AppliedPrice | None = None
    provisional: Amounts | None = None


def is_unmeasured(record: UsageRecord) -> bool:
    """Whether the call's usage is unknown, which is not zero (ruling M5b).

    The report says so, or it names no error of a call whose operation bills some usage. What a
    report says that the call used or cost is known, whatever else it says.
    """
    if record.policy_result == CusPolicyResult.BLOCKED or _names_usage(record):
        return False
    is_silent = record.error_code is None and record.operation != CusOperation.OTHER
    return is_silent or not record.usage_known


def _names_usage(record: UsageRecord) -> bool:
    return bool(
        record.tokens_in
        or record.tokens_out
        or record.billed_units
        or record.cost_cents
        or record.provider_cost_microcents
    )


class RowBuilder:
    """Makes the rows of one batch of one SDK key."""

    def __init__(self, principal: SdkPrincipal, *, now: datetime) -> None:
        self.principal = principal
        self.now = now
        self._pricer = CusPricer(
            principal.tenant_id,
            principal.provider_type,
            base_url=principal.base_url,
            integration_id=principal.integration_id,
        )
        self._end_users = CusEndUsers(principal.tenant_id)
        self._oldest = now - timedelta(days=settings.CUS_TELEMETRY_MAX_AGE_DAYS)
        self._newest = now + _CLOCK_AHEAD
        self._used: dict[uuid.UUID, AppliedPrice] = {}

    @property
    def used_prices(self) -> Iterable[AppliedPrice]:
        """The prices of the rows made so far: to be kept before the rows are stored."""
        return self._used.values()

    def row(
        self,
        record: UsageRecord,
        flags: list[str],
        *,
        call_hash: str,
        occurred_at: datetime | None = None,
    ) -> EvidenceRow:
        """The row of a record; `flags` says what decoding had to cut.

        `occurred_at` is the start of the call, where it is known better than from the record.
        """
        flags = list(flags)
        if occurred_at is None:
            occurred_at = self._occurred_at(record, flags)
        used = BilledUsage.of(record)
        price = self._pricer.price_at(BilledCall.of(record, turns=used.turns), occurred_at)
        cost = self._cost(record, used, price, occurred_at)
        ours = cents_of(cost.microcents)
        cents = _cost_cents(record, used, price, ours, flags)
        _check_tokens(record, flags)
        if used.turns or used.tier:
            flags += used.flags(cost.price.pricing if cost.price else None)
        row = EvidenceRow(
            uuid7(),
            call_hash,
            content_hash(record, self.principal.integration_id),
            self.principal.integration_id,
            record.provider or self.principal.provider_type,
            cents,
            cost.microcents,
            max(cents, ours),  # No report lowers what limits count (ruling M3a).
            cost.source,
            flags,
            occurred_at,
            *_as_sent(record),
        )
        row.reported_pricing_version = record.pricing_version
        row.end_user = self._end_users.stored(record.end_user)
        if cost.price:
            row.pricing_version, row.price_id = cost.price.version, cost.price.id
            row.unpriced_units = used.unpriced(cost.price.pricing)
        if cost.provisional:
            row.provisional_cents, row.provisional_microcents, row.provisional_tokens = (
                cost.provisional
            )
        if "clock_skew" in flags:
            row.sent_timestamp = _masked(record.timestamp)
        if record.lease_id:
            row.reserved = record.reserved
        return row

    def _cost(
        self, record: UsageRecord, used: BilledUsage, price: AppliedPrice | None, at: datetime
    ) -> "_Cost":
        if is_unmeasured(record):
            pricing = price.pricing if price else None
            provisional = missing_estimate(record.model, pricing, at)
            return _Cost(0, PriceSource.UNMEASURED, provisional=provisional)
        if price is not None:
            self._used[price.id] = price
            return _Cost(used.microcents(price.pricing), price.source, price)
        if record.provider_cost_microcents is not None:
            return _Cost(record.provider_cost_microcents, PriceSource.PROVIDER)
        return _Cost(0, PriceSource.UNKNOWN)

    def _occurred_at(self, record: UsageRecord, flags: list[str]) -> datetime:
        moment = parse_timestamp(record.timestamp)
        if moment and self._oldest <= moment <= self._newest:
            return moment
        flags.append("clock_skew")
        return self.now


def _masked(timestamp: str | None) -> str | None:
    """What was sent in place of a moment may be any text, so it may hold a key (ruling E9)."""
    return timestamp and mask_secrets(timestamp)[:_LONGEST_TIMESTAMP]


def _cost_cents(
    record: UsageRecord,
    used: BilledUsage,
    price: AppliedPrice | None,
    ours: int,
    flags: list[str],
) -> int:
    """The cost as reported, which is a fact; ours where none was (ruling M7)."""
    if record.cost_cents is None:
        flags.append("cost_filled")
        return min(ours, INT32_MAX)
    if price and record.cost_cents != ours and not _matches_reported_version(record, used):
        flags.append("cost_mismatch")
    return record.cost_cents


def _matches_reported_version(record: UsageRecord, used: BilledUsage) -> bool:
    """Whether the reported cost is right by the version that the sender priced with."""
    if record.pricing_version is None:
        return False
    return any(
        cents_of(used.microcents(pricing)) == record.cost_cents
        for pricing in pricings_of_version(record.model, record.pricing_version)
    )


def _check_tokens(record: UsageRecord, flags: list[str]) -> None:
    """Flag kinds that do not add up, which is how tokens get counted twice (ruling M8)."""
    total = record.tokens_in + record.tokens_out
    if record.tokens_total not in (None, total) or _parts_exceed_whole(record):
        flags.append("tokens_mismatch")
    if record.policy_result == CusPolicyResult.BLOCKED and (total or record.cost_cents):
        flags.append("blocked_with_usage")
    if not record.usage_known and _names_usage(record):
        flags.append("unknown_with_usage")


def _parts_exceed_whole(record: UsageRecord) -> bool:
    if not any(_parts(record)):
        return False  # as in most records
    for whole, first, others in _WHOLES:
        parts = first(record)
        for part in others:
            parts += part(record)
        if parts > whole(record):
            return True
    return False
