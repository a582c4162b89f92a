"""Telemetry of one tenant: takes reports in, says of each what became of it."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from aos_sdk.cus_wire import CusIngestStatus, settlement_call_id
from integrations.cus_keys.verifier import SdkPrincipal
from telemetry.cus_connections import Cursor, evidence_cursor, evidence_transaction
from telemetry.cus_delivery.sequences import MAX_SEQUENCE, Announcement, Origin, note_sequences
from telemetry.cus_evidence.content import content_hash, differing_fields, hash_version
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.records import (
    Decoded,
    RecordRefused,
    UsageRecord,
    decode_record,
    origin_of,
)
from telemetry.cus_evidence.rows import RowBuilder, is_unmeasured
from telemetry.cus_evidence.settlements import (
    append_settlement,
    differing_usage,
    lock_responses,
    settlement_of,
    settles_by_response,
    unmeasured_calls,
)
from telemetry.cus_evidence.store import EvidenceRow, KnownCall, known_calls, store_batch
from telemetry.cus_ids import hash_call_id
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
        entries: list[_Entry] = []
        for index, raw in enumerate(records):
            try:
                entries.append(_Entry(index, self._own(decode_record(raw))))
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

    def _store(self, entries: "Sequence[_Entry]") -> list[Outcome]:
        firsts: dict[str, _Entry] = {}
        for entry in entries:
            firsts.setdefault(entry.call_hash, entry)
        if not firsts:
            return []
        rows = {key: self._row(entry) for key, entry in firsts.items()}
        keep_prices(self._builder.used_prices)
        stored = self._store_new(firsts, rows)
        replays = [
            entry
            for entry in entries
            if entry.call_hash in stored.known or firsts[entry.call_hash] is not entry
        ]
        accepted = [
            Outcome(first.index, rows[key].call_id, CusIngestStatus.ACCEPTED, rows[key].id)
            for key, first in firsts.items()
            if key not in stored.known and key not in stored.answered
        ]
        answered = [self._replay(firsts[key], call) for key, call in stored.answered.items()]
        return accepted + answered + self._compare(replays)

    def _row(self, entry: "_Entry", occurred_at: datetime | None = None) -> EvidenceRow:
        return self._builder.row(
            entry.record, entry.flags, call_hash=entry.call_hash, occurred_at=occurred_at
        )

    def _store_new(
        self, entries: "Mapping[str, _Entry]", rows: Mapping[str, EvidenceRow]
    ) -> "_Stored":
        """Store the rows of calls that are new, by their own ids and by those of their answers."""
        settling = {key for key, entry in entries.items() if settles_by_response(entry.record)}
        unmeasured = {
            key
            for key, row in rows.items()
            if row.response_id and row.pricing == PriceSource.UNMEASURED
        }
        tenant_id, integration_id = self._where
        if not settling and not unmeasured:
            return _Stored(store_batch(tenant_id, list(rows.values())), {})
        names = {key: entries[key].record.response_id or "" for key in settling | unmeasured}
        with evidence_transaction() as cursor:
            lock_responses(cursor, integration_id, set(names.values()))
            answered = self._settled_before(cursor, {key: names[key] for key in unmeasured})
            first = [row for key, row in rows.items() if key not in settling | answered.keys()]
            known = store_batch(tenant_id, first, within=cursor)
            answered |= self._to_settle(cursor, {key: names[key] for key in settling})
            rest = [rows[key] for key in settling if key not in answered]
            known |= store_batch(tenant_id, rest, within=cursor)
        return _Stored(known, answered)

    def _settled_before(self, cursor: Cursor, names: Mapping[str, str]) -> dict[str, KnownCall]:
        """Those of the calls whose answer another process reported before, by call hash."""
        hashes = {key: hash_call_id(settlement_call_id(name)) for key, name in names.items()}
        known = known_calls(*self._where, list(hashes.values()), within=cursor)
        return {key: known[found] for key, found in hashes.items() if found in known}

    def _to_settle(self, cursor: Cursor, names: Mapping[str, str]) -> dict[str, KnownCall]:
        """The unmeasured calls that reports name by their answers, by the reports' call hash."""
        calls = unmeasured_calls(cursor, *self._where, set(names.values()))
        return {
            key: KnownCall("", calls[name].id, calls[name])
            for key, name in names.items()
            if name in calls
        }

    def _compare(self, replays: "Iterable[_Entry]") -> list[Outcome]:
        hashes = {entry.call_hash for entry in replays}
        if not hashes:
            return []
        known = known_calls(*self._where, list(hashes))
        return [self._replay(entry, known[entry.call_hash]) for entry in replays]

    def _replay(self, entry: "_Entry", known: KnownCall) -> Outcome:
        self._answered.extend(_own_origin(entry.record, known))
        differ: tuple[str, ...] = ()
        if known.row is None or _is_measured(known.row):
            # A report of unknown usage does not contradict known usage.
            if known.row is None or not is_unmeasured(entry.record):
                differ = tuple(self._differences(entry.record, known))
        elif is_unmeasured(entry.record):
            # Only reports under the call's own id are reports of the call; others name its answer.
            is_own = known.row.call_id == entry.record.call_id
            if is_own and not settles_by_response(entry.record):
                differ = tuple(self._differences(entry.record, known))
        else:
            if self._settle(entry, known.row):
                where = (entry.index, entry.record.call_id)
                return Outcome(*where, CusIngestStatus.ACCEPTED, known.usage_id)
            differ = tuple(differing_usage(entry.record, settlement_of(known.row)))
        return _replayed(entry, known, differ)

    def _settle(self, entry: "_Entry", usage: CusLLMUsage) -> bool:
        """Append what an unmeasured call used; False if it is settled already."""
        row = self._row(entry, usage.occurred_at)
        keep_prices(self._builder.used_prices)
        with evidence_cursor() as cursor:
            return append_settlement(cursor, usage, row)

    def _differences(self, record: UsageRecord, known: KnownCall) -> list[str]:
        integration_id = self.principal.integration_id
        version = hash_version(known.content_hash)
        if content_hash(record, integration_id, version) == known.content_hash:
            return []
        if known.row is None:
            return ["content"]  # Its month was dropped; the hash still tells that it differs.
        if settles_by_response(record):
            return differing_usage(record, known.row)
        return differing_fields(record, integration_id, known.row, version)


class _Stored(NamedTuple):
    """What became of new rows, by call hash.

    `known`: call ids that the ledger had already. `answered`: the stored call whose answer a report
    is about, where that call has another call id.
    """

    known: set[str]
    answered: dict[str, KnownCall]


def _is_measured(usage: CusLLMUsage) -> bool:
    return usage.pricing != PriceSource.UNMEASURED


def _replayed(entry: "_Entry", known: KnownCall, differ: tuple[str, ...]) -> Outcome:
    where = (entry.index, entry.record.call_id)
    if not differ:
        return Outcome(*where, CusIngestStatus.DUPLICATE, known.usage_id)
    detail = (
        f"This call_id was reported before with another {', '.join(differ)}. The first report "
        "stands; a new call needs a new call_id."
    )
    code = "call_id_conflict"
    return Outcome(*where, CusIngestStatus.CONFLICT, known.usage_id, code, detail, differ)


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
