"""Telemetry of one tenant: takes reports in, says of each what became of it."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from aos_sdk.cus_cost import CusPricedCall, CusTokenUsage, price_call
from aos_sdk.cus_wire import CusIngestStatus, CusPolicyResult, mask_secrets
from integrations.cus_sdk_keys import SdkPrincipal
from telemetry.cus_content import content_hash, differing_fields, parse_timestamp
from telemetry.cus_evidence_store import (
    EvidenceRow,
    KnownCall,
    hash_call_id,
    known_calls,
    store_batch,
)
from telemetry.cus_ids import uuid7
from telemetry.cus_models import CusLLMUsage
from telemetry.cus_records import Decoded, RecordRefused, UsageRecord, decode_record

# A sender's clock may be this much ahead of ours before we use ours instead (ruling E3).
_CLOCK_AHEAD = timedelta(minutes=5)


@dataclass(frozen=True)
class Outcome:
    """What became of one record of a batch (ruling E4)."""

    index: int
    call_id: str
    status: CusIngestStatus
    id: uuid.UUID | None = None
    code: str | None = None
    detail: str | None = None
    attr: str | None = None


class CusTelemetryService:
    """Stores what an SDK key's programs report. Committed when a method returns."""

    def __init__(self, principal: SdkPrincipal, *, now: datetime) -> None:
        self.principal = principal
        self.now = now

    def record_batch(self, records: Sequence[bytes | Any]) -> list[Outcome]:
        """Store each record that is new and can be counted; one outcome a record, in order."""
        outcomes: list[Outcome] = []
        entries: list[_Entry] = []
        for index, raw in enumerate(records):
            try:
                entries.append(_Entry(index, self._own(decode_record(raw))))
            except RecordRefused as refused:
                outcomes.append(_rejected(index, refused))
        outcomes += self._store(entries)
        return sorted(outcomes, key=lambda outcome: outcome.index)

    def _own(self, decoded: Decoded) -> Decoded:
        record = decoded.record
        if record.integration_id not in (None, self.principal.integration_id):
            detail = "This SDK key reports for another integration. Leave integration_id out."
            raise RecordRefused("integration_id", "integration_mismatch", detail, record.call_id)
        return decoded

    def _store(self, entries: "Sequence[_Entry]") -> list[Outcome]:
        firsts: dict[uuid.UUID, _Entry] = {}
        for entry in entries:
            firsts.setdefault(entry.call_hash, entry)
        if not firsts:
            return []
        rows = {key: self._row(entry) for key, entry in firsts.items()}
        new = store_batch(self.principal.tenant_id, list(rows.values()))
        replays = [
            entry
            for entry in entries
            if entry.call_hash not in new or firsts[entry.call_hash] is not entry
        ]
        accepted = [
            Outcome(firsts[key].index, rows[key].call_id, CusIngestStatus.ACCEPTED, rows[key].id)
            for key in new
        ]
        return accepted + self._compare(replays)

    def _compare(self, replays: "Iterable[_Entry]") -> list[Outcome]:
        hashes = {entry.call_hash for entry in replays}
        if not hashes:
            return []
        known = known_calls(self.principal.tenant_id, list(hashes))
        return [self._replay(entry, known[entry.call_hash]) for entry in replays]

    def _replay(self, entry: "_Entry", known: KnownCall) -> Outcome:
        differ = self._differences(entry.record, known)
        if not differ:
            status, code, detail, attr = CusIngestStatus.DUPLICATE, None, None, None
        else:
            status, code = CusIngestStatus.CONFLICT, "call_id_conflict"
            attr = ", ".join(differ)
            detail = (
                f"This call_id was reported before with another {attr}. The first report stands; "
                "a new call needs a new call_id."
            )
        call_id = entry.record.call_id
        return Outcome(entry.index, call_id, status, known.usage_id, code, detail, attr)

    def _differences(self, record: UsageRecord, known: KnownCall) -> list[str]:
        integration_id = self.principal.integration_id
        if content_hash(record, integration_id) == known.content_hash:
            return []
        if known.row is None:
            return ["content"]  # Its month was dropped; the hash still tells that it differs.
        return differing_fields(record, integration_id, known.row)

    def _row(self, entry: "_Entry") -> EvidenceRow:
        record, flags = entry.record, list(entry.flags)
        occurred_at = self._occurred_at(record, flags)
        priced = _price(record, occurred_at)
        cost_cents = _cost_cents(record, priced, flags)
        _check_tokens(record, flags)
        return EvidenceRow(
            id=uuid7(),
            call_hash=entry.call_hash,
            content_hash=content_hash(record, self.principal.integration_id),
            integration_id=self.principal.integration_id,
            session_id=record.session_id,
            agent_id=record.agent_id,
            call_id=record.call_id,
            provider=record.provider or self.principal.provider_type,
            model=record.model,
            operation=record.operation,
            stream=record.stream,
            tokens_in=record.tokens_in,
            tokens_out=record.tokens_out,
            tokens_cached=record.tokens_cached,
            tokens_cache_write=record.tokens_cache_write,
            tokens_cache_write_1h=record.tokens_cache_write_1h,
            tokens_reasoning=record.tokens_reasoning,
            tokens_audio_in=record.tokens_audio_in,
            tokens_audio_out=record.tokens_audio_out,
            tokens_image_in=record.tokens_image_in,
            tokens_total=record.tokens_total,
            service_tier=record.service_tier,
            billed_units=record.billed_units,
            cost_cents=cost_cents,
            cost_microcents=priced.cost_microcents if priced else 0,
            pricing=CusLLMUsage.Pricing.TABLE if priced else CusLLMUsage.Pricing.UNKNOWN,
            pricing_version=priced.pricing_version if priced else None,
            reported_pricing_version=record.pricing_version,
            latency_ms=record.latency_ms,
            policy_result=record.policy_result,
            error_code=record.error_code,
            error_message=record.error_message and mask_secrets(record.error_message),
            metadata=record.metadata,
            flags=flags,
            sent_timestamp=record.timestamp if "clock_skew" in flags else None,
            process_id=record.process_id,
            sequence=record.sequence,
            lease_id=record.lease_id,
            degraded=record.degraded,
            occurred_at=occurred_at,
        )

    def _occurred_at(self, record: UsageRecord, flags: list[str]) -> datetime:
        moment = parse_timestamp(record.timestamp)
        oldest = self.now - timedelta(days=settings.CUS_TELEMETRY_MAX_AGE_DAYS)
        if moment and oldest <= moment <= self.now + _CLOCK_AHEAD:
            return moment
        flags.append("clock_skew")
        return self.now


class _Entry:
    """A decoded record with its place in the batch and its key in the ledger."""

    __slots__ = ("call_hash", "flags", "index", "record")

    def __init__(self, index: int, decoded: Decoded) -> None:
        self.index = index
        self.record = decoded.record
        self.flags = decoded.flags
        self.call_hash = hash_call_id(decoded.record.call_id)


def _rejected(index: int, refused: RecordRefused) -> Outcome:
    return Outcome(
        index,
        refused.call_id,
        CusIngestStatus.REJECTED,
        code=refused.code,
        detail=refused.detail,
        attr=refused.attr,
    )


def _price(record: UsageRecord, at: datetime) -> CusPricedCall | None:
    usage = CusTokenUsage(
        record.tokens_in,
        record.tokens_out,
        record.tokens_cached,
        record.tokens_cache_write,
        record.tokens_cache_write_1h,
        record.tokens_reasoning,
        record.tokens_audio_in,
        record.tokens_audio_out,
        record.tokens_image_in,
        record.tokens_total,
    )
    return price_call(record.model, usage, service_tier=record.service_tier, at=at)


def _cost_cents(record: UsageRecord, priced: CusPricedCall | None, flags: list[str]) -> int:
    """The cost as reported, which is a fact; ours where none was (ruling M7)."""
    ours = priced.cost_cents if priced else 0
    if record.cost_cents is None:
        flags.append("cost_filled")
        return ours
    if priced and record.cost_cents != ours:
        flags.append("cost_mismatch")
    return record.cost_cents


def _check_tokens(record: UsageRecord, flags: list[str]) -> None:
    """Flag kinds that do not add up, which is how tokens get counted twice (ruling M8)."""
    parts_in = (
        record.tokens_cached
        + record.tokens_cache_write
        + record.tokens_audio_in
        + record.tokens_image_in
    )
    parts_out = record.tokens_reasoning + record.tokens_audio_out
    total = record.tokens_in + record.tokens_out
    if (
        parts_in > record.tokens_in
        or parts_out > record.tokens_out
        or record.tokens_cache_write_1h > record.tokens_cache_write
        or record.tokens_total not in (None, total)
    ):
        flags.append("tokens_mismatch")
    if record.policy_result == CusPolicyResult.BLOCKED and (total or record.cost_cents):
        flags.append("blocked_with_usage")
