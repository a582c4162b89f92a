"""A tenant's month as tables: from its sealed statement, or from usage while it is open."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.utils.safestring import SafeString

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_accounts.models import CusTenant
from integrations.cus_console.amounts import dollars
from integrations.cus_console.panels import Cell, table
from integrations.cus_integrations.panels import link_to
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_reads.summaries import MOST_GROUPS, CusUsageSummaries, Group, SummaryQuery
from telemetry.cus_statements.models import CusMonthStatement
from telemetry.cus_statements.months import period_of_month

# The tabs of a month, in their order: what its figures are grouped by.
GROUPS = {
    Group.INTEGRATION: "Integration",
    Group.MODEL: "Model",
    Group.AGENT: "Agent",
    Group.DAY: "Day",
}
_NO_AGENT = "No agent named"
_COLUMNS = {
    Group.INTEGRATION: "integration_id",
    Group.MODEL: "model",
    Group.AGENT: "agent_id",
}
HEADERS = (
    "Calls",
    "Errors",
    "Refused",
    "Exact, as recorded",
    "Corrections",
    "Exact, as corrected",
    "Rounded",
    "Rounding adds",
)
MEANING = (
    "Exact is what the tokens cost by the price that was known when the call was recorded. "
    "Corrections are what prices that were known later add. Rounded is what budgets on the rounded "
    "basis count: each call rounded up to a cent."
)


@dataclass(frozen=True)
class MonthRow:
    """The figures of one integration, model, agent or day. Amounts are of US dollars."""

    calls: int
    errors: int
    refused: int
    recorded_microcents: int
    corrected_microcents: int
    counted_cents: int

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> "MonthRow":
        """The row from figures by their names in API and statements."""
        return cls(
            calls=figures["calls"],
            errors=figures["error_calls"],
            refused=figures["blocked_calls"],
            recorded_microcents=figures["cost_microcents"],
            corrected_microcents=figures["corrected_microcents"],
            counted_cents=figures["counted_cents"],
        )

    def __add__(self, other: "MonthRow") -> "MonthRow":
        names = self.__dataclass_fields__
        return MonthRow(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def cells(self) -> list[Cell]:
        """The row as a table shows it."""
        counted = self.counted_cents * MICROCENTS_PER_CENT
        return [
            f"{self.calls:,}",
            f"{self.errors:,}",
            f"{self.refused:,}",
            dollars(self.recorded_microcents),
            dollars(self.corrected_microcents - self.recorded_microcents),
            dollars(self.corrected_microcents),
            dollars(counted),
            dollars(counted - self.recorded_microcents),
        ]


NOTHING = MonthRow(0, 0, 0, 0, 0, 0)


def month_table(
    tenant: CusTenant, month: date, group: Group, statement: CusMonthStatement | None
) -> SafeString:
    """The month's figures by `group`. Days are of usage, also in a closed month, because a
    statement has none. Raises CusError.
    """
    if statement is not None and group in _COLUMNS:
        total, rows = _of_statement(statement, group)
    else:
        total, rows = _of_usage(tenant, month, group)
    name = _namer(group, rows)
    lines = [[name(key), *row.cells] for key, row in rows[:MOST_GROUPS]]
    if len(lines) > 1:
        lines.append(["All", *total.cells])
    return table(
        [GROUPS[group], *HEADERS],
        lines,
        empty=f"No call was recorded in {month:%B %Y}.",
        note=MEANING + _cut(rows),
    )


def _cut(rows: list[tuple[Any, MonthRow]]) -> str:
    if len(rows) <= MOST_GROUPS:
        return ""
    return f" The table has the {MOST_GROUPS:,} dearest; the last line has all."


def _of_statement(
    statement: CusMonthStatement, group: Group
) -> tuple[MonthRow, list[tuple[Any, MonthRow]]]:
    sums: dict[str, MonthRow] = defaultdict(lambda: NOTHING)
    for one in statement.groups:
        sums[one[_COLUMNS[group]]] += MonthRow.of(one)
    rows = sorted(sums.items(), key=lambda pair: (-pair[1].corrected_microcents, pair[0]))
    return MonthRow.of(statement.totals), list(rows)


def _of_usage(
    tenant: CusTenant, month: date, group: Group
) -> tuple[MonthRow, list[tuple[Any, MonthRow]]]:
    found = CusUsageSummaries(tenant).summary(SummaryQuery(period_of_month(month), [group]))
    rows = [(one.by[group], MonthRow.of(one.figures.as_fields())) for one in found.groups]
    if found.is_cut:
        # One more than is shown, so that the table says that there are others.
        rows.append((None, NOTHING))
    return MonthRow.of(found.totals.as_fields()), rows


def _namer(group: Group, rows: list[tuple[Any, MonthRow]]) -> Callable[[Any], Cell]:
    if group is Group.DAY:
        return lambda day: f"{day:%a %d %B}"
    if group is Group.AGENT:
        return lambda agent: agent or _NO_AGENT
    if group is Group.MODEL:
        return lambda model: model or "-"
    links = integration_links(key for key, _ in rows if key)
    return lambda key: links.get(uuid.UUID(str(key)), str(key))


def integration_links(ids: Iterable[Any]) -> dict[uuid.UUID, Cell]:
    """Links to integrations; the name alone of those that are deleted, which have no page."""
    found = CusIntegration.objects.select_related("tenant").filter(id__in=list(ids))
    return {row.id: integration_link(row) for row in found}


def integration_link(row: CusIntegration) -> Cell:
    """A link to an integration; the name alone of a deleted one, which has no page."""
    return link_to(row) if row.deleted_at is None else row.name
