"""Calls and reports that name one answer: whichever comes first, the answer counts once (M5b).

A call of unknown usage names its answer by `response_id`. A process that has the answer reports what
the answer used under a call id made of that id (`settlement_call_id`). From then on the answer is
told: the ledger has that call id, and leads to the row that counts the answer. Calls and reports of
one answer wait for each other, because neither sees the other's row before its commit.
"""

import uuid
from collections.abc import Mapping
from typing import NamedTuple

from aos_sdk.cus_wire import settlement_call_id
from telemetry.cus_connections import Cursor, evidence_transaction
from telemetry.cus_evidence.aliases import Alias, store_aliases
from telemetry.cus_evidence.evidence_row import EvidenceRow
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.records import Decoded
from telemetry.cus_evidence.settlements import (
    append_settlements,
    lock_responses,
    settlement,
    settlement_of_other,
    settles_by_response,
    unmeasured_calls,
    unsettled_calls,
)
from telemetry.cus_evidence.store import store_batch
from telemetry.cus_evidence.stored_calls import known_calls
from telemetry.cus_ids import hash_call_id
from telemetry.cus_money.models import PriceSource

# Tenant and integration.
Where = tuple[uuid.UUID, uuid.UUID]


class Entry:
    """A decoded record with its place in the batch and its key in the ledger."""

    __slots__ = ("call_hash", "flags", "index", "record")

    def __init__(self, index: int, decoded: Decoded) -> None:
        self.index = index
        self.record = decoded.record
        self.flags = decoded.flags
        self.call_hash = hash_call_id(decoded.record.call_id)


class Stored(NamedTuple):
    """What became of new rows, by call hash.

    `known`: those that the ledger had already, or now leads to the row of their answer.
    `of_calls`: reports of answers that stored calls wait for, each with the first such call.
    """

    known: set[str]
    of_calls: dict[str, CusLLMUsage]


def store_new(
    where: Where, entries: Mapping[str, Entry], rows: Mapping[str, EvidenceRow]
) -> Stored:
    """Store the rows of calls that are new, by their own ids and by those of their answers."""
    settling = {key for key, entry in entries.items() if settles_by_response(entry.record)}
    waiting = {
        key
        for key, row in rows.items()
        if row.response_id and row.pricing == PriceSource.UNMEASURED and key not in settling
    }
    if not settling and not waiting:
        return Stored(store_batch(where[0], list(rows.values())), {})
    names = {key: entries[key].record.response_id or "" for key in settling | waiting}
    with evidence_transaction() as cursor:
        lock_responses(cursor, where[1], set(names.values()))
        told = _told(cursor, where, names)
        aliases = {key: Alias.of(rows[key], told[key]) for key in waiting & told.keys()}
        store_aliases(cursor, where[0], aliases.values())
        first = [row for key, row in rows.items() if key not in settling | aliases.keys()]
        known = store_batch(where[0], first, within=cursor)
        untold = {key: names[key] for key in settling - told.keys()}
        calls = unmeasured_calls(cursor, *where, set(untold.values()))
        rest = [rows[key] for key, name in untold.items() if name not in calls]
        known |= store_batch(where[0], rest, within=cursor)
    known |= told.keys()
    return Stored(known, {key: calls[name] for key, name in untold.items() if name in calls})


def _told(cursor: Cursor, where: Where, names: Mapping[str, str]) -> dict[str, str]:
    """Those of the keys whose answers are told, each with the call hash of the answer's report."""
    hashes = {key: hash_call_id(settlement_call_id(name)) for key, name in names.items()}
    known = known_calls(*where, list(set(hashes.values())), within=cursor)
    return {key: found for key, found in hashes.items() if found in known}


def settle_answers(
    where: Where, reports: Mapping[str, tuple[CusLLMUsage, EvidenceRow]]
) -> set[uuid.UUID]:
    """Settle the calls of answers, each by its report's row; the ids of rows that were not settled.

    The first call of an answer takes what the answer used. Further calls that name the answer are
    settled with nothing. Now the answer is told: a call that names it later leads to the first row.
    """
    if not reports:
        return set()
    by_name = {row.response_id or "": (usage, row) for usage, row in reports.values()}
    with evidence_transaction() as cursor:
        lock_responses(cursor, where[1], set(by_name))
        aliases = (Alias.of(row, hash_call_id(usage.call_id)) for usage, row in by_name.values())
        store_aliases(cursor, where[0], aliases)
        settlements = [settlement(usage, row) for usage, row in by_name.values()]
        firsts = {usage.id for usage, _ in by_name.values()}
        for other in unsettled_calls(cursor, *where, set(by_name)):
            if other.id not in firsts:
                settlements.append(settlement_of_other(other, by_name[other.response_id][1]))
        return append_settlements(cursor, where[0], settlements) & firsts
