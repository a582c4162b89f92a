"""Telemetry of one tenant: takes reports in, says of each what became of it."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from aos_sdk.cus_wire import CusIngestStatus
from integrations.cus_keys.verifier import SdkPrincipal
from telemetry.cus_connections import evidence_cursor
from telemetry.cus_delivery.sequences import MAX_SEQUENCE, Announcement, Origin, note_sequences
from telemetry.cus_evidence.answers import Entry, settle_answers, store_new
from telemetry.cus_evidence.content import content_hash, differing_fields, hash_version
from telemetry.cus_evidence.evidence_row import EvidenceRow
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.records import Decoded, RecordRefused, decode_record, origin_of
from telemetry.cus_evidence.rows import RowBuilder, is_unmeasured
from telemetry.cus_evidence.settlements import (
    append_settlements,
    differing_usage,
    settlement,
    settlement_of,
    settles_by_response,
)
from telemetry.cus_evidence.stored_calls import KnownCall, known_calls
from telemetry.cus_evidence.usage_record import UsageRecord
from telemetry.cus_money.models import PriceSource
from telemetry.cus_money.pricing import keep_prices


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one record of a batch (ruling E4)."""

    index: int
    call_id: str
    status: CusIngestStatus
    id: uuid.UUID | None = None
    code: str | None = None
    detail: str | None = None
    # Which fields are to blame; a conflict may name several.
    fields: tuple[str, ...] = ()

    @property
    def attr(self) -> str | None:
        """The fields to blame as one text."""
        return ", ".join(self.fields) or None


class CusTelemetryService:
    """Stores what an SDK key's programs report. Committed when a method returns."""

    def __init__(self, principal: SdkPrincipal, *, now: datetime) -> None:
        self.principal = principal
        self.now = now
        self._where = (principal.tenant_id, principal.integration_id)
        self._builder = RowBuilder(principal, now=now)
        # Sequences that have an answer now and no row of evidence.
        self._answered: list[Origin] = []

    def record_batch(
        self, records: Sequence[bytes | Any], announcement: Announcement | None = None
    ) -> list[Outcome]:
        """Store each record that is new and can be counted; one outcome a record, in order.

        With it goes what their process announces of itself, after them: a sequence is never
        expected before the records that came with the news of it are stored.
        """
        outcomes: list[Outcome] = []
        entries: list[Entry] = []
        for index, raw in enumerate(records):
            try:
                entries.append(Entry(index, self._own(decode_record(raw))))
            except RecordRefused as refused:
                outcomes.append(_rejected(index, refused))
                self._answered.extend(origin_of(raw))
        outcomes += self._store(entries)
        note_sequences(*self._where, announcement, self._answered)
        return sorted(outcomes, key=lambda outcome: outcome.index)

    def _own(self, decoded: Decoded) -> Decoded:
        record = decoded.record
        if record.integration_id not in (None, self.principal.integration_id):
            detail = "This SDK key reports for another integration. Leave integration_id out."
            raise RecordRefused("integration_id", "integration_mismatch", detail, record.call_id)
        return decoded

    def _store(self, entries: Sequence[Entry]) -> list[Outcome]:
        firsts: dict[str, Entry] = {}
        for entry in entries:
            firsts.setdefault(entry.call_hash, entry)
        if not firsts:
            return []
        rows = {key: self._row(entry) for key, entry in firsts.items()}
        keep_prices(self._builder.used_prices)
        stored = store_new(self._where, firsts, rows)
        settled = self._settle_answers(firsts, stored.of_calls)
        known = stored.known | (stored.of_calls.keys() - settled.keys())
        replays = [
            entry
            for entry in entries
            if entry.call_hash in known or firsts[entry.call_hash] is not entry
        ]
        accepted = [
            _accepted(first, settled.get(key, rows[key].id))
            for key, first in firsts.items()
            if key not in known
        ]
        return accepted + self._compare(replays, stored.of_calls)

    def _row(self, entry: Entry, occurred_at: datetime | None = None) -> EvidenceRow:
        return self._builder.row(
            entry.record, entry.flags, call_hash=entry.call_hash, occurred_at=occurred_at
        )

    def _settle_answers(
        self, entries: Mapping[str, Entry], calls: Mapping[str, CusLLMUsage]
    ) -> dict[str, uuid.UUID]:
        """Settle the calls by the reports that tell usage; the settled rows, by call hash."""
        reports = {
            key: (call, self._row(entries[key], call.occurred_at))
            for key, call in calls.items()
            if not is_unmeasured(entries[key].record)
        }
        keep_prices(self._builder.used_prices)
        settled = settle_answers(self._where, reports)
        found = {key: call for key, (call, _) in reports.items() if call.id in settled}
        for key, call in found.items():
            self._answered.extend(_own_origin(entries[key].record, call))
        return {key: call.id for key, call in found.items()}

    def _compare(self, replays: Iterable[Entry], calls: Mapping[str, CusLLMUsage]) -> list[Outcome]:
        """What became of reports of known calls; `calls` are those whose answers reports name."""
        hashes = {entry.call_hash for entry in replays}
        if not hashes:
            return []
        known = {key: KnownCall("", call.id, call) for key, call in calls.items()}
        known |= known_calls(*self._where, list(hashes))
        return [self._replay(entry, known[entry.call_hash]) for entry in replays]

    def _replay(self, entry: Entry, known: KnownCall) -> Outcome:
        self._answered.extend(_own_origin(entry.record, known.row))
        differ: tuple[str, ...] = ()
        if known.row is None or _is_measured(known.row):
            # A report of unknown usage does not contradict known usage.
            if known.row is None or not is_unmeasured(entry.record):
                differ = tuple(self._differences(entry.record, known))
        elif is_unmeasured(entry.record):
            # Only reports under the call's own id are reports of the call; others name its answer.
            if _is_own(entry.record, known.row):
                differ = tuple(self._differences(entry.record, known))
        else:
            if self._settle(entry, known.row):
                where = (entry.index, entry.record.call_id)
                return Outcome(*where, CusIngestStatus.ACCEPTED, known.usage_id)
            differ = tuple(differing_usage(entry.record, settlement_of(known.row)))
        return _replayed(entry, known, differ)

    def _settle(self, entry: Entry, usage: CusLLMUsage) -> bool:
        """Append what an unmeasured call used; False if it is settled already."""
        row = self._row(entry, usage.occurred_at)
        keep_prices(self._builder.used_prices)
        with evidence_cursor() as cursor:
            return bool(append_settlements(cursor, usage.tenant_id, [settlement(usage, row)]))

    def _differences(self, record: UsageRecord, known: KnownCall) -> list[str]:
        integration_id = self.principal.integration_id
        version = hash_version(known.content_hash)
        if content_hash(record, integration_id, version) == known.content_hash:
            return []
        if known.row is None:
            return ["content"]  # Its month was dropped; the hash still tells that it differs.
        if not _is_own(record, known.row):
            return differing_usage(record, known.row)
        return differing_fields(record, integration_id, known.row, version)


def _accepted(entry: Entry, usage_id: uuid.UUID) -> Outcome:
    return Outcome(entry.index, entry.record.call_id, CusIngestStatus.ACCEPTED, usage_id)


def _is_own(record: UsageRecord, row: CusLLMUsage) -> bool:
    """Whether a report is of the row's own call, not of its answer or of another call of that."""
    return row.call_id == record.call_id and not settles_by_response(record)


def _is_measured(usage: CusLLMUsage) -> bool:
    return usage.pricing != PriceSource.UNMEASURED


def _replayed(entry: Entry, known: KnownCall, differ: tuple[str, ...]) -> Outcome:
    where = (entry.index, entry.record.call_id)
    if not differ:
        return Outcome(*where, CusIngestStatus.DUPLICATE, known.usage_id)
    detail = (
        f"This call_id was reported before with another {', '.join(differ)}. The first report "
        "stands; a new call needs a new call_id."
    )
    code = "call_id_conflict"
    return Outcome(*where, CusIngestStatus.CONFLICT, known.usage_id, code, detail, differ)


def _own_origin(record: UsageRecord, row: CusLLMUsage | None) -> list[Origin]:
    """The number of a report whose call another report had brought; none if it is a redelivery."""
    if record.process_id is None or record.sequence is None or record.sequence >= MAX_SEQUENCE:
        return []
    origin = (record.process_id, record.sequence)
    if row is not None and origin == (row.process_id, row.sequence):
        return []
    return [origin]


def _rejected(index: int, refused: RecordRefused) -> Outcome:
    return Outcome(
        index,
        refused.call_id,
        CusIngestStatus.REJECTED,
        code=refused.code,
        detail=refused.detail,
        fields=(refused.attr,) if refused.attr else (),
    )
