"""A tenant's usage records, newest first, by when they were received."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from django.db import connection
from django.db.models import Sum
from msgspec import Meta

from integrations.cus_accounts.models import CusTenant
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_evidence.lookup import counted_cents
from telemetry.cus_evidence.models import CusLLMUsage, CusUsageSettlement
from telemetry.cus_reads.pages import Page, page_of
from telemetry.cus_reads.periods import Period
from telemetry.cus_reads.summaries import find_integration

RecordPlace = tuple[Annotated[datetime, Meta(tz=True)], uuid.UUID]
# The most records that are looked at for a page. A filter that no index serves could otherwise read
# millions of records for one page.
MOST_LOOKED_AT = 20_000
# Filters that an index serves, and the others, by their condition.
_INDEXED = {
    "integration_id": "integration_id = %(integration_id)s",
    "agent_id": "agent_id = %(agent_id)s",
    "call_id": "call_id = %(call_id)s",
}
_OTHERS = {
    "model": "model = %(model)s",
    "provider": "provider = %(provider)s",
    "session_id": "session_id = %(session_id)s",
    "end_user": "end_user = %(end_user)s",
    "tag": "tags @> %(tag)s::jsonb",
    "policy_result": "policy_result = %(policy_result)s",
    "error_code": "error_code = %(error_code)s",
}
FILTERS = (*_INDEXED, *_OTHERS)


@dataclass(frozen=True)
class UsageRecord:
    """A record as it was stored, its settlement, and what corrections add to its exact cost."""

    row: CusLLMUsage
    settlement: CusUsageSettlement | None
    correction_microcents: int

    @property
    def counted_cents(self) -> int:
        """What limits in cents count of the record (ruling M3a)."""
        return counted_cents(self.row)

    @property
    def corrected_microcents(self) -> int:
        """The exact cost as settled and corrected."""
        settled = self.settlement.cost_microcents if self.settlement else 0
        return self.row.cost_microcents + settled + self.correction_microcents


@dataclass(frozen=True)
class RecordsQuery:
    """Which records: received in a period, with these values (see `FILTERS`)."""

    period: Period
    filters: dict[str, Any] = field(default_factory=dict)


class CusUsageRecords:
    """The usage records of one tenant."""

    def __init__(self, tenant: CusTenant) -> None:
        self.tenant = tenant

    def page(
        self, query: RecordsQuery, *, after: RecordPlace | None, limit: int
    ) -> Page[UsageRecord]:
        """A page of records; its queries are the same in number for any page.

        A page with a filter that no index serves may have fewer than `limit` records, and even
        none, and yet a next page: `MOST_LOOKED_AT` records are looked at for it. Raises
        IntegrationNotFound.
        """
        find_integration(self.tenant, query.filters.get("integration_id"))
        places, following = self._places(query, after, limit)
        return Page(self._records(places), following)

    def _places(
        self, query: RecordsQuery, after: RecordPlace | None, limit: int
    ) -> tuple[list[RecordPlace], RecordPlace | None]:
        looked_at, fitting, values = self._statements(query, after)
        with connection.cursor() as cursor:
            cursor.execute(f"{fitting} LIMIT %(limit)s", values | {"limit": limit + 1})
            found = page_of(cursor.fetchall(), limit, lambda row: row)
            following: Any = found.next
            if following is None and looked_at is not None:
                # Where the next page goes on, if there may be records that nobody looked at.
                cursor.execute(
                    f"{looked_at} OFFSET %(last)s", values | {"last": MOST_LOOKED_AT - 1}
                )
                following = cursor.fetchone()
        return found.rows, following

    def _statements(
        self, query: RecordsQuery, after: RecordPlace | None
    ) -> tuple[str | None, str, dict[str, Any]]:
        """SQL for the places that are looked at, and for those of them that fit.

        The former is None if an index finds the fitting places.
        """
        given = query.filters | {"tag": json.dumps([query.filters.get("tag")])}
        values = given | {
            "tenant": self.tenant.id,
            "start": query.period.start,
            "end": query.period.end,
            "most": MOST_LOOKED_AT,
        }
        conditions = [sql for name, sql in _INDEXED.items() if name in query.filters]
        if after is not None:
            conditions.append("(created_at, id) < (%(after_at)s, %(after_id)s)")
            values |= {"after_at": after[0], "after_id": after[1]}
        others = [sql for name, sql in _OTHERS.items() if name in query.filters]
        where = " AND ".join(["tenant_id = %(tenant)s", _RECEIVED, *conditions])
        newest = f"SELECT * FROM cus_llm_usage WHERE {where} {_ORDER}"  # noqa: S608  (our own)
        if not others:
            return None, _places_in(newest), values
        looked_at = f"{newest} LIMIT %(most)s"
        return _places_in(looked_at), _places_in(looked_at, " AND ".join(others)), values

    def _records(self, places: Sequence[RecordPlace]) -> list[UsageRecord]:
        if not places:
            return []
        ids = [usage_id for _, usage_id in places]
        of_tenant = {"tenant_id": self.tenant.id, "usage_id__in": ids}
        rows = CusLLMUsage.objects.filter(
            # The moments keep the query out of other months.
            tenant_id=self.tenant.id, id__in=ids, created_at__range=(places[-1][0], places[0][0])
        ).in_bulk()  # fmt: skip
        settlements = CusUsageSettlement.objects.filter(**of_tenant)
        by_usage = {settlement.usage_id: settlement for settlement in settlements}
        adjustments = CusCostAdjustment.objects.filter(**of_tenant).values_list("usage_id")
        corrections = dict(adjustments.annotate(total=Sum("difference_microcents")))
        return [
            UsageRecord(rows[usage_id], by_usage.get(usage_id), corrections.get(usage_id, 0))
            for usage_id in ids
        ]


def _places_in(rows: str, condition: str = "true") -> str:
    return f"SELECT created_at, id FROM ({rows}) AS found WHERE {condition}"  # noqa: S608  (ours)


_RECEIVED = "created_at >= %(start)s AND created_at < %(end)s"
_ORDER = "ORDER BY created_at DESC, id DESC"
