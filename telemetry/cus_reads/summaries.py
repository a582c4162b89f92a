"""Sums of a tenant's usage over a period, in groups (§4.2)."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db import connection

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import CusError, IntegrationNotFound
from telemetry.cus_analytics.days import CLOCK_AHEAD, TenantDay, final_at
from telemetry.cus_analytics.figures import FIGURES, HOURS, KEY, all_of, daily_name
from telemetry.cus_analytics.models import CusRollupDue, CusRollupRun
from telemetry.cus_reads.periods import Period, PeriodRefused
from telemetry.cus_reads.usage_figures import UsageFigures, usage_figures

LONGEST = timedelta(days=366)
LONGEST_OF_SESSION = timedelta(days=7)
# The most groups of an answer; a summary with more says so.
MOST_GROUPS = 1_000


class RecordsDropped(CusError):
    """Retention dropped records of this period, from which sessions and parts of hours are summed.
    Name whole hours in UTC without a session, or a later period.
    """

    code, attr = "records_dropped", "from"


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
    Group.HOUR: "hour",
    Group.DAY: "(hour AT TIME ZONE 'UTC')::date",
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
    """What to sum: a period, groups, and optionally one integration and one session of it."""

    period: Period
    group_by: Sequence[Group] = field(default_factory=tuple)
    integration_id: uuid.UUID | None = None
    session_id: str | None = None


class CusUsageSummaries:
    """The sums of one tenant's usage."""

    def __init__(self, tenant: CusTenant) -> None:
        self.tenant = tenant

    def summary(self, query: SummaryQuery) -> Summary:
        """The sums that are asked for; dearest groups first, and times in their order.

        Raises IntegrationNotFound, PeriodRefused or RecordsDropped.
        """
        find_integration(self.tenant, query.integration_id)
        source, values = self._source(query)
        with connection.cursor() as cursor:
            cursor.execute(_statement(source, query.group_by), values)
            rows = cursor.fetchall()
        names = ("is_total", *query.group_by, *FIGURES)
        found = [dict(zip(names, row, strict=True)) for row in rows]
        totals = next(usage_figures(row) for row in found if row["is_total"])
        groups = [_group(query, row) for row in found if not row["is_total"]]
        last = CusRollupRun.objects.order_by("-covered_to").first()
        return Summary(
            period=query.period,
            totals=totals,
            groups=groups[:MOST_GROUPS],
            is_cut=len(groups) > MOST_GROUPS,
            computed_to=last.covered_to if last else None,
            waiting_hours=self._waiting(query.period),
        )

    def _waiting(self, period: Period) -> int:
        due = CusRollupDue.objects.filter(tenant_id=self.tenant.id)
        return due.filter(hour__gte=period.start, hour__lt=period.end).count()

    def _source(self, query: SummaryQuery) -> tuple[str, dict[str, Any]]:
        """SQL for rows of figures, by the key of an hour, and the values of the SQL."""
        values: dict[str, Any] = {
            "tenant": self.tenant.id,
            "integration": query.integration_id,
            "session": query.session_id,
            "groups": MOST_GROUPS + 1,
        }
        if query.session_id is not None:
            _check_session(query)
            return self._evidence(query.period, "session", values)
        if query.period.is_of_whole_days and _OF_DAYS.issuperset(query.group_by):
            values |= {"from": query.period.start.date(), "to": query.period.end.date()}
            return _DAYS, values
        parts, whole = [], query.period.whole_hours()
        if whole:
            values |= {"from": whole.start, "to": whole.end}
            parts.append(_HOURS)
        for number, edge in enumerate(query.period.edges()):
            statement, values = self._evidence(edge, f"edge{number}", values)
            parts.append(statement)
        return " UNION ALL ".join(parts), values

    def _evidence(
        self, period: Period, name: str, values: dict[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        """SQL for the figures of a period from the rows themselves; values have names of their own."""
        days = [TenantDay(moment.date(), self.tenant.id) for moment in (period.start, period.end)]
        if not all(day.has_all_evidence() for day in days):
            raise RecordsDropped
        own = {
            "start": period.start,
            "end": period.end,
            "received_from": period.start - CLOCK_AHEAD,
            "received_to": final_at(period.end.date()),
        }
        statement = HOURS
        for key in own:
            statement = statement.replace(f"%({key})s", f"%({name}_{key})s")
        columns = ", ".join((*KEY, *FIGURES))
        part = f"SELECT {columns} FROM ({statement}) AS {name}"  # noqa: S608  (our own names)
        return part, values | {f"{name}_{key}": value for key, value in own.items()}


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


def _group(query: SummaryQuery, row: dict[str, Any]) -> UsageGroup:
    return UsageGroup({group: row[group] for group in query.group_by}, usage_figures(row))


_OF_ONE = "(%(integration)s::uuid IS NULL OR integration_id = %(integration)s)"
_HOURS = f"""
SELECT {", ".join((*KEY, *FIGURES))} FROM cus_usage_hourly
WHERE tenant_id = %(tenant)s AND hour >= %(from)s AND hour < %(to)s AND {_OF_ONE}"""  # noqa: S608
_DAYS = f"""
SELECT date::timestamp AT TIME ZONE 'UTC' AS hour, integration_id,
    {", ".join(f"{daily_name(name)} AS {name}" for name in FIGURES)} FROM cus_usage_daily
WHERE tenant_id = %(tenant)s AND date >= %(from)s AND date < %(to)s AND {_OF_ONE}"""  # noqa: S608


def _statement(source: str, group_by: Sequence[Group]) -> str:
    """Sums of a source in groups, and over all groups, which come first."""
    columns = [_COLUMNS[group] for group in group_by]
    times = [_COLUMNS[group] for group in group_by if group in _TIMES]
    exact = "sum(cost_microcents + settled_cost_microcents + correction_microcents)"
    order = ", ".join(["1 DESC", *times, f"{exact} DESC", *columns])
    sets = f"({', '.join(columns)}), ()" if columns else "()"
    is_total = f"GROUPING({columns[0]}) = 1" if columns else "true"
    return f"""
    SELECT {", ".join([f"{is_total} AS is_total", *columns])}, {all_of()}
    FROM ({source}) AS figures GROUP BY GROUPING SETS ({sets})
    ORDER BY {order} LIMIT %(groups)s + 1"""  # noqa: S608  (the names are this module's own)
