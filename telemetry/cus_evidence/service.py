"""Telemetry of one tenant: takes reports in, says of each what became of it."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from aos_sdk.cus_wire import CusIngestStatus
from integrations.cus_keys.verifier import SdkPrincipal
from telemetry.cus_delivery.sequences import MAX_SEQUENCE, Announcement, Origin, note_sequences
from telemetry.cus_evidence.content import content_hash, differing_fields
from telemetry.cus_evidence.records import (
    Decoded,
    RecordRefused,
    UsageRecord,
    decode_record,
    origin_of,
)
from telemetry.cus_evidence.rows import RowBuilder
from telemetry.cus_evidence.store import KnownCall, known_calls, store_batch
from telemetry.cus_ids import hash_call_id
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
        entries: list[_Entry] = []
        for index, raw in enumerate(records):
            try:
                entries.append(_Entry(index, self._own(decode_record(raw))))
            except RecordRefused as refused:
                outcomes.append(_rejected(index, refused))
                self._answered.extend(origin_of(raw))
        outcomes += self._store(entries)
        where = (self.principal.tenant_id, self.principal.integration_id)
        note_sequences(*where, announcement, self._answered)
        return sorted(outcomes, key=lambda outcome: outcome.index)

    def _own(self, decoded: Decoded) -> Decoded:
        record = decoded.record
        if record.integration_id not in (None, self.principal.integration_id):
            detail = "This SDK key reports for another integration. Leave integration_id out."
            raise RecordRefused("integration_id", "integration_mismatch", detail, record.call_id)
        return decoded

    def _store(self, entries: "Sequence[_Entry]") -> list[Outcome]:
        firsts: dict[str, _Entry] = {}
        for entry in entries:
            firsts.setdefault(entry.call_hash, entry)
        if not firsts:
            return []
        builder = RowBuilder(self.principal, now=self.now)
        rows = {
            key: builder.row(entry.record, entry.flags, call_hash=key)
            for key, entry in firsts.items()
        }
        keep_prices(builder.used_prices)
        known = store_batch(self.principal.tenant_id, list(rows.values()))
        replays = [
            entry
            for entry in entries
            if entry.call_hash in known or firsts[entry.call_hash] is not entry
        ]
        accepted = [
            Outcome(first.index, rows[key].call_id, CusIngestStatus.ACCEPTED, rows[key].id)
            for key, first in firsts.items()
            if key not in known
        ]
        return accepted + self._compare(replays)

    def _compare(self, replays: "Iterable[_Entry]") -> list[Outcome]:
        hashes = {entry.call_hash for entry in replays}
        if not hashes:
            return []
        where = (self.principal.tenant_id, self.principal.integration_id)
        known = known_calls(*where, list(hashes))
        return [self._replay(entry, known[entry.call_hash]) for entry in replays]

    def _replay(self, entry: "_Entry", known: KnownCall) -> Outcome:
        self._answered.extend(_own_origin(entry.record, known))
        differ = tuple(self._differences(entry.record, known))
        where = (entry.index, entry.record.call_id)
        if not differ:
            return Outcome(*where, CusIngestStatus.DUPLICATE, known.usage_id)
        detail = (
            f"This call_id was reported before with another {', '.join(differ)}. The first report "
            "stands; a new call needs a new call_id."
        )
        code = "call_id_conflict"
        return Outcome(*where, CusIngestStatus.CONFLICT, known.usage_id, code, detail, differ)

    def _differences(self, record: UsageRecord, known: KnownCall) -> list[str]:
        integration_id = self.principal.integration_id
        if content_hash(record, integration_id) == known.content_hash:
            return []
        if known.row is None:
            return ["content"]  # Its month was dropped; the hash still tells that it differs.
        return differing_fields(record, integration_id, known.row)


class _Entry:
    """A decoded record with its place in the batch and its key in the ledger."""

    __slots__ = ("call_hash", "flags", "index", "record")

    def __init__(self, index: int, decoded: Decoded) -> None:
        self.index = index
        self.record = decoded.record
        self.flags = decoded.flags
        self.call_hash = hash_call_id(decoded.record.call_id)


def _own_origin(record: UsageRecord, known: KnownCall) -> list[Origin]:
    """The number of a report whose call another report had brought; none if it is a redelivery."""
    if record.process_id is None or record.sequence is None or record.sequence >= MAX_SEQUENCE:
        return []
    origin = (record.process_id, record.sequence)
    if known.row is not None and origin == (known.row.process_id, known.row.sequence):
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
