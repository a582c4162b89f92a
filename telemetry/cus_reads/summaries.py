"""Sums of a tenant's usage over a period, in groups (§4.2)."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import IntegrationNotFound
from telemetry.cus_analytics.figures import FIGURES, all_of
from telemetry.cus_analytics.models import CusRollupDue, CusRollupRun
from telemetry.cus_reads.local_days import LocalDays, local_days
from telemetry.cus_reads.periods import HOUR, IN_UTC, Period, PeriodRefused
from telemetry.cus_reads.sources import (
    SETTINGS,
    Source,
    days_source,
    groups_source,
    hours_source,
    session_source,
)
from telemetry.cus_reads.usage_figures import UsageFigures, usage_figures
from telemetry.cus_sums import execute_sums

LONGEST = timedelta(days=366)
LONGEST_OF_SESSION = timedelta(days=7)
# The most groups of an answer; a summary with more says so.
MOST_GROUPS = 1_000


class Group(StrEnum):
    """What a summary groups by."""

    INTEGRATION = "integration"
    PROVIDER = "provider"
    MODEL = "model"
    AGENT = "agent"
    POLICY_RESULT = "policy_result"
    HOUR = "hour"
    DAY = "day"


_COLUMNS = {
    Group.INTEGRATION: "integration_id",
    Group.PROVIDER: "provider",
    Group.MODEL: "model",
    Group.AGENT: "agent_id",
    Group.POLICY_RESULT: "policy_result",
    Group.HOUR: "whole_hour",
    Group.DAY: "day_number",
}
# What is not a column of figures.
_WORKED_OUT = {
    "whole_hour": "date_bin('1 hour', hour, '2000-01-01Z')",
    "day_number": "width_bucket(hour, %(day_starts)s::timestamptz[])",
}
_TIMES = (Group.HOUR, Group.DAY)
# Groups that the sums of days have, too.
_OF_DAYS = {Group.INTEGRATION, Group.DAY}


@dataclass(frozen=True)
class UsageGroup:
    """A group's figures; `by` has the group's value of each thing that is grouped by."""

    by: dict[Group, Any]
    figures: UsageFigures


@dataclass(frozen=True)
class Summary:
    """Sums over a period; the totals are over all groups, also if `is_cut`.

    `computed_to` is up to when the figures include what was received; `waiting_hours` is the number
    of hours in the period that the next run of the rollup computes.
    """

    period: Period
    totals: UsageFigures
    groups: list[UsageGroup]
    is_cut: bool
    computed_to: datetime | None
    waiting_hours: int


@dataclass(frozen=True)
class SummaryQuery:
    """What to sum: a period, groups, and optionally one integration and one session of it.

    Days are those of the zone.
    """

    period: Period
    group_by: Sequence[Group] = field(default_factory=tuple)
    integration_id: uuid.UUID | None = None
    session_id: str | None = None
    zone: ZoneInfo = IN_UTC


class CusUsageSummaries:
    """The sums of one tenant's usage."""

    def __init__(self, tenant: CusTenant) -> None:
        self.tenant = tenant

    def summary(self, query: SummaryQuery) -> Summary:
        """The sums that are asked for; dearest groups first, and times in their order.

        Raises IntegrationNotFound, PeriodRefused or RecordsDropped.
        """
        find_integration(self.tenant, query.integration_id)
        totals, groups = self._first_hours(query) or self._sums(query)
        last = CusRollupRun.objects.order_by("-covered_to").first()
        return Summary(
            period=query.period,
            totals=totals,
            groups=groups[:MOST_GROUPS],
            is_cut=len(groups) > MOST_GROUPS,
            computed_to=last.covered_to if last else None,
            waiting_hours=self._waiting(query.period),
        )

    def _first_hours(self, query: SummaryQuery) -> tuple[UsageFigures, list[UsageGroup]] | None:
        """The sums of a long period by hours: its first hours have all groups that are listed.

        So only the totals are of the whole period. None where hours without usage leave too few
        groups, and where all hours may be listed.
        """
        first = Period(query.period.start, query.period.start + (MOST_GROUPS + 1) * HOUR)
        if Group.HOUR not in query.group_by or first.end >= query.period.end:
            return None
        _, groups = self._sums(replace(query, period=first))
        if len(groups) <= MOST_GROUPS:
            return None
        totals, _ = self._sums(replace(query, group_by=()))
        return totals, groups

    def _sums(self, query: SummaryQuery) -> tuple[UsageFigures, list[UsageGroup]]:
        """The totals, and one group more than are listed, if there are so many."""
        days = local_days(query.period, query.zone)
        source = self._source(query, days)
        values = {"groups": MOST_GROUPS + 1, "day_starts": list(days.starts)}
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(SETTINGS)
            execute_sums(cursor, _statement(source, query.group_by), source.values | values)
            rows = cursor.fetchall()
        names = ("is_total", *query.group_by, *FIGURES)
        found = [dict(zip(names, row, strict=True)) for row in rows]
        totals = next(usage_figures(row) for row in found if row["is_total"])
        return totals, [_group(query, days, row) for row in found if not row["is_total"]]

    def _waiting(self, period: Period) -> int:
        due = CusRollupDue.objects.filter(tenant_id=self.tenant.id)
        return due.filter(hour__gte=period.start, hour__lt=period.end).count()

    def _source(self, query: SummaryQuery, days: LocalDays) -> Source:
        of_whom = (self.tenant.id, query.integration_id)
        has_days = Group.DAY in query.group_by
        borders = days.borders_within_hours if has_days else []
        if query.session_id is not None:
            _check_session(query)
            return session_source(*of_whom, query.session_id, query.period, borders)
        are_stored = query.zone.key == IN_UTC.key or not has_days
        if not are_stored or Group.HOUR in query.group_by:
            return hours_source(*of_whom, query.period, borders)
        if query.period.is_of_whole_days and _OF_DAYS.issuperset(query.group_by):
            return days_source(*of_whom, query.period)
        return groups_source(*of_whom, query.period)


def _check_session(query: SummaryQuery) -> None:
    if query.integration_id is None:
        raise PeriodRefused("A session belongs to an integration: name integration_id, too.")
    if query.period.length > LONGEST_OF_SESSION:
        raise PeriodRefused(
            f"A session is summed over {LONGEST_OF_SESSION.days} days at most. Name `from` and `to`."
        )


def find_integration(tenant: CusTenant, integration_id: uuid.UUID | None) -> None:
    """Raises IntegrationNotFound unless the integration is, or was, the tenant's, or is None."""
    if integration_id is None:
        return
    if not CusIntegration.objects.filter(tenant=tenant, id=integration_id).exists():
        raise IntegrationNotFound


def _group(query: SummaryQuery, days: LocalDays, row: dict[str, Any]) -> UsageGroup:
    by = {group: row[group] for group in query.group_by}
    if Group.DAY in by:
        by[Group.DAY] = days.days[by[Group.DAY] - 1]
    return UsageGroup(by, usage_figures(row))


def _statement(source: Source, group_by: Sequence[Group]) -> str:
    """Sums of a source in groups, and over all groups, which come first.

    The groups are summed from the source, and all from the groups: a source has many rows.
    """
    columns = [_COLUMNS[group] for group in group_by]
    parts = source.summed({name: _WORKED_OUT.get(name, name) for name in columns}, all_of())
    if not columns:
        return f"SELECT true AS is_total, {all_of()} FROM ({parts}) AS figures"  # noqa: S608  (ours)
    times = [_COLUMNS[group] for group in group_by if group in _TIMES]
    exact = "cost_microcents + settled_cost_microcents + correction_microcents"
    keys = ", ".join(columns)
    return f"""
    WITH figures AS MATERIALIZED (
        SELECT {keys}, {all_of()} FROM ({parts}) AS figures GROUP BY {keys}
    )
    SELECT * FROM (
        SELECT false AS is_total, {keys}, {", ".join(FIGURES)} FROM figures
        UNION ALL SELECT true, {", ".join(["NULL"] * len(columns))}, {all_of()} FROM figures
    ) AS sums
    ORDER BY {", ".join(["is_total DESC", *times, f"{exact} DESC", keys])} LIMIT %(groups)s + 1"""  # noqa: S608
