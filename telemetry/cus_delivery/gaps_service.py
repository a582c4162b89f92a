"""Sequences that never came, by process: what a tenant's programs reported and we do not have."""

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from integrations.cus_accounts.models import CusTenant
from telemetry.cus_delivery.sequences import MAX_SEQUENCE, OVERLAP, covered_to

# So many ranges of a process are listed; the count covers them all.
MAX_RANGES = 100


@dataclass(frozen=True)
class GapsFilter:
    """Which processes to look at; `seen_from` and `seen_to` are about when they last reported."""

    integration_id: uuid.UUID | None = None
    process_id: str | None = None
    seen_from: datetime | None = None
    seen_to: datetime | None = None


# Where a page begins: after this process in the order of the list.
Place = tuple[datetime, uuid.UUID, str]


@dataclass(frozen=True)
class ProcessGaps:
    """A process of which something is missing.

    `missing` lists the first ranges, both ends included; `missing_count` counts all of it, of
    which the process itself declared `dropped` as given up. The rest is on its way, waits in the
    spool of a host, or is lost.
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
        """How many nobody has an explanation for."""
        return max(self.missing_count - sum(self.dropped.values()), 0)

    @property
    def missing_is_cut(self) -> bool:
        """Whether there are more ranges than those that are listed."""
        return sum(last - first + 1 for first, last in self.missing) < self.missing_count

    @property
    def place(self) -> Place:
        """Where a page that follows it begins."""
        return (self.last_seen_at, self.integration_id, self.process_id)


class CusGapsService:
    """Gaps of one tenant."""

    def __init__(self, tenant: CusTenant) -> None:
        self.tenant = tenant

    def gaps(
        self, wanted: GapsFilter, *, after: Place | None = None, limit: int = 100
    ) -> list[ProcessGaps]:
        """Processes with something missing, those that reported last first."""
        covered = covered_to()
        last_seen_at, integration_id, process_id = after or (None, None, None)
        values: dict[str, Any] = {
            "tenant": self.tenant.id,
            "since": covered - OVERLAP if covered else None,
            "most": MAX_SEQUENCE,
            "integration": wanted.integration_id,
            "process": wanted.process_id,
            "seen_from": wanted.seen_from,
            "seen_to": wanted.seen_to,
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


# Rows received since the last fold are added from evidence, so the answer is exact at any time. A
# minute of a tenant's rows is read for it, by the index on its receipt.
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
