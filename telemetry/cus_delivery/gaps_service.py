"""Sequences that are missing, by process: records that programs made and the server lacks."""

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from integrations.cus_accounts.models import CusTenant
from telemetry.cus_delivery.sequences import MAX_SEQUENCE, OVERLAP, covered_to

# The most ranges that are listed of a process; `missing_count` covers all ranges.
MAX_RANGES = 100


@dataclass(frozen=True)
class GapsFilter:
    """The processes to list; `seen_from` and `seen_to` bound the time of their last report."""

    integration_id: uuid.UUID | None = None
    process_id: str | None = None
    seen_from: datetime | None = None
    seen_to: datetime | None = None


# The process after which a page begins, in the order of the list.
Place = tuple[datetime, uuid.UUID, str]


@dataclass(frozen=True)
class ProcessGaps:
    """A process with missing sequences.

    `missing` lists the first ranges, both ends included; `missing_count` counts all missing
    sequences. The process itself declared `dropped` of them as given up. The others are on their
    way, wait in the spool of a host, or are lost.
    """

    integration_id: uuid.UUID
    process_id: str
    first_seen_at: datetime
    last_seen_at: datetime
    last_sequence: int
    dropped: dict[str, int]
    missing: list[list[int]]
    missing_count: int

    @property
    def undeclared_count(self) -> int:
        """The number of missing sequences that were not declared as dropped."""
        return max(self.missing_count - sum(self.dropped.values()), 0)

    @property
    def missing_is_cut(self) -> bool:
        """Whether there are more missing ranges than `missing` lists."""
        return sum(last - first + 1 for first, last in self.missing) < self.missing_count

    @property
    def place(self) -> Place:
        """The place after which the next page begins."""
        return (self.last_seen_at, self.integration_id, self.process_id)


class CusGapsService:
    """The gaps of one tenant's processes."""

    def __init__(self, tenant: CusTenant) -> None:
        self.tenant = tenant

    def gaps(
        self, processes: GapsFilter, *, after: Place | None = None, limit: int = 100
    ) -> list[ProcessGaps]:
        """Processes with missing sequences, the process that reported last first."""
        covered = covered_to()
        last_seen_at, integration_id, process_id = after or (None, None, None)
        values: dict[str, Any] = {
            "tenant": self.tenant.id,
            "since": covered - OVERLAP if covered else None,
            "most": MAX_SEQUENCE,
            "integration": processes.integration_id,
            "process": processes.process_id,
            "seen_from": processes.seen_from,
            "seen_to": processes.seen_to,
            "after_seen": last_seen_at,
            "after_integration": integration_id,
            "after_process": process_id,
            "ranges": MAX_RANGES,
            "limit": limit,
        }
        with connection.cursor() as cursor:
            cursor.execute(_GAPS, values)
            return [_read(row) for row in cursor]


def _read(row: tuple[Any, ...]) -> ProcessGaps:
    # Django leaves JSON as text, for its own fields to decode.
    integration_id, process_id, first, last, sequence, dropped, missing, count = row
    lists = (json.loads(dropped), json.loads(missing))
    return ProcessGaps(integration_id, process_id, first, last, sequence, *lists, count)


# Rows received since the last fold are added from evidence, so the answer is always exact. That
# reads a minute of a tenant's rows, by the index on receipt.
_GAPS = """
WITH live AS MATERIALIZED (
    SELECT integration_id, process_id, min(created_at) AS first_seen_at,
        max(created_at) AS last_seen_at, range_agg(int8range(sequence, sequence, '[]')) AS came
    FROM cus_llm_usage
    WHERE tenant_id = %(tenant)s
        AND created_at >= coalesce(%(since)s::timestamptz, '-infinity')
        AND process_id IS NOT NULL AND sequence < %(most)s
    GROUP BY integration_id, process_id
), folded AS (
    SELECT * FROM cus_reporting_processes WHERE tenant_id = %(tenant)s
), known AS (
    SELECT integration_id, process_id,
        least(folded.first_seen_at, live.first_seen_at) AS first_seen_at,
        greatest(folded.last_seen_at, live.last_seen_at) AS last_seen_at,
        coalesce(folded.last_sequence, 0) AS announced,
        coalesce(folded.dropped::jsonb, '{}'::jsonb) AS dropped,
        coalesce(folded.came, '{}') + coalesce(live.came, '{}') AS came
    FROM folded FULL JOIN live USING (integration_id, process_id)
), expected AS (
    SELECT *, greatest(announced, coalesce(upper(came) - 1, 0)) AS last_sequence FROM known
), gaps AS (
    SELECT *, int8multirange(int8range(1, last_sequence + 1)) - came AS missing FROM expected
)
SELECT integration_id, process_id, first_seen_at, last_seen_at, last_sequence, dropped,
    (SELECT jsonb_agg(jsonb_build_array(lower(gap), upper(gap) - 1))
        FROM (SELECT gap FROM unnest(missing) AS gap LIMIT %(ranges)s) AS listed),
    (SELECT sum(upper(gap) - lower(gap))::bigint FROM unnest(missing) AS gap)
FROM gaps
WHERE NOT isempty(missing)
    AND (%(integration)s::uuid IS NULL OR integration_id = %(integration)s)
    AND (%(process)s::text IS NULL OR process_id = %(process)s)
    AND (%(seen_from)s::timestamptz IS NULL OR last_seen_at >= %(seen_from)s)
    AND (%(seen_to)s::timestamptz IS NULL OR last_seen_at < %(seen_to)s)
    AND (%(after_seen)s::timestamptz IS NULL
        OR last_seen_at < %(after_seen)s
        OR (last_seen_at = %(after_seen)s
            AND (integration_id, process_id) > (%(after_integration)s::uuid, %(after_process)s)))
ORDER BY last_seen_at DESC, integration_id, process_id
LIMIT %(limit)s
"""
