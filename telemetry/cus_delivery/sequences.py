"""The sequences of a process that arrived: kept as ranges, folded from evidence once a minute.

Every row of evidence carries its process and its sequence, so ingest does no further work. Facts
without a row are stored when they arrive, which is seldom: the announcement of a process once a
minute, and sequences that were answered without a row of their own (a call that another sequence
had reported, a refused record). See `docs/decisions/0025`.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from telemetry.cus_connections import evidence_cursor

# No process counts so far. A range up to the type's largest number could not have an open end.
MAX_SEQUENCE = 2**62
# More ranges (some 15,000) are of no use to people and slow every fold, so the sequences of such a
# process are then stored as one range.
_MOST_BYTES = 262_144
# An ingest transaction lasts thirty seconds at most, and its rows have the time of its beginning.
OVERLAP = timedelta(minutes=1)
_STEP = timedelta(days=1)
_KEPT = timedelta(days=400)
_LOCK_KEY = 0x6375735F7365  # "cus_se"

Origin = tuple[str, int]


@dataclass(frozen=True)
class Announcement:
    """A process' own counts in a batch, since the process began."""

    process_id: str | None = None
    last_sequence: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


def note_sequences(
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID,
    announcement: Announcement | None,
    answered: Iterable[Origin],
) -> None:
    """Store a process' announcement, and sequences that were answered without a row."""
    noted: dict[str, dict[str, Any]] = {}
    if announcement is not None and announcement.process_id:
        noted[announcement.process_id] = {
            "last_sequence": announcement.last_sequence,
            "dropped": announcement.dropped,
        }
    for process_id, numbers in _by_process(answered).items():
        noted.setdefault(process_id, {})["came"] = _ranges(numbers)
    if not noted:
        return
    # In the order of the key, so that two batches can't deadlock.
    rows = [{"process_id": process_id, **noted[process_id]} for process_id in sorted(noted)]
    with evidence_cursor() as cursor:
        cursor.execute(
            _NOTE, {"tenant": tenant_id, "integration": integration_id, "rows": json.dumps(rows)}
        )


def fold_sequences(now: datetime) -> datetime | None:
    """Fold the evidence received before `now` into `came`; return the moment of the last fold.

    Repeated and concurrent folds have the same result as one fold.
    """
    began = covered_to()
    since = began - OVERLAP if began else _first_received()
    while since is not None and since < now:
        until = min(since + _STEP, now)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
            cursor.execute(_FOLD, {"since": since, "until": until, "most": MAX_SEQUENCE})
            cursor.execute(_COVERED, {"until": until})
        since = until
    with connection.cursor() as cursor:
        cursor.execute(_FORGET, {"before": now - _KEPT})
    return began


def covered_to() -> datetime | None:
    """The moment before which evidence is in `came`; None before the first fold."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT covered_to FROM cus_sequence_folds WHERE id = 1")
        row = cursor.fetchone()
    return row[0] if row else None


def _first_received() -> datetime | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT min(created_at) FROM cus_llm_usage")
        first: datetime | None = cursor.fetchone()[0]
    return first


def _by_process(answered: Iterable[Origin]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for process_id, number in answered:
        found[process_id].append(number)
    return found


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers as a multirange, whose neighbours PostgreSQL joins."""
    return "{" + ",".join(f"[{number},{number + 1})" for number in sorted(set(numbers))) + "}"


def _bounded(ranges: str) -> str:
    return (
        f"CASE WHEN pg_column_size({ranges}) > {_MOST_BYTES}"
        f" THEN int8multirange(range_merge({ranges})) ELSE {ranges} END"
    )


_NOTE = f"""
INSERT INTO cus_reporting_processes AS process
    (tenant_id, integration_id, process_id, last_sequence, dropped, came)
SELECT %(tenant)s, %(integration)s, process_id, coalesce(last_sequence, 0),
    coalesce(dropped, '{{}}'::jsonb), coalesce(came, '{{}}')::int8multirange
FROM json_to_recordset(%(rows)s::json)
    AS noted(process_id text, last_sequence bigint, dropped jsonb, came text)
ON CONFLICT (tenant_id, integration_id, process_id) DO UPDATE SET
    last_seen_at = greatest(process.last_seen_at, excluded.last_seen_at),
    last_sequence = greatest(process.last_sequence, excluded.last_sequence),
    dropped = coalesce((
        SELECT jsonb_object_agg(reason, number) FROM (
            SELECT key AS reason, max(value::bigint) AS number FROM (
                SELECT * FROM jsonb_each_text(process.dropped)
                UNION ALL SELECT * FROM jsonb_each_text(excluded.dropped)
            ) AS said GROUP BY key
        ) AS highest), '{{}}'::jsonb),
    came = {_bounded("(process.came + excluded.came)")}
"""  # noqa: S608  (the names are this module's own)

_FOLD = f"""
INSERT INTO cus_reporting_processes AS process
    (tenant_id, integration_id, process_id, first_seen_at, last_seen_at, dropped, came)
SELECT tenant_id, integration_id, process_id, min(created_at), max(created_at), '{{}}',
    {_bounded("range_agg(int8range(sequence, sequence, '[]'))")}
FROM cus_llm_usage
WHERE created_at >= %(since)s AND created_at < %(until)s
    AND process_id IS NOT NULL AND sequence < %(most)s
GROUP BY tenant_id, integration_id, process_id
ORDER BY tenant_id, integration_id, process_id
ON CONFLICT (tenant_id, integration_id, process_id) DO UPDATE SET
    first_seen_at = least(process.first_seen_at, excluded.first_seen_at),
    last_seen_at = greatest(process.last_seen_at, excluded.last_seen_at),
    came = {_bounded("(process.came + excluded.came)")}
"""  # noqa: S608  (the names are this module's own)

_COVERED = """
INSERT INTO cus_sequence_folds AS fold (id, covered_to) VALUES (1, %(until)s)
ON CONFLICT (id) DO UPDATE SET covered_to = greatest(fold.covered_to, excluded.covered_to)
"""

# A process that has been silent for so long will send nothing any more.
_FORGET = "DELETE FROM cus_reporting_processes WHERE last_seen_at < %(before)s"
