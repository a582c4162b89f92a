"""Compare providers' invoices with a month's usage, and name what explains a difference."""

import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db import transaction
from django.db.models import Sum

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import record_change
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_coverage.models import CusBypassHour
from telemetry.cus_delivery.gaps_service import CusGapsService, GapsFilter, ProcessGaps
from telemetry.cus_reads.periods import Period
from telemetry.cus_reads.summaries import CusUsageSummaries, Group, SummaryQuery, find_integration
from telemetry.cus_reads.usage_figures import UsageFigures
from telemetry.cus_statements.models import CusMonthStatement, CusProviderInvoice
from telemetry.cus_statements.months import period_of_month
from telemetry.cus_statements.service import CusMonthService

# How many processes with missing records are read at once.
_PROCESSES = 1_000


@dataclass(frozen=True)
class InvoiceCheck:
    """An integration's month: the invoice, the usage, and what explains a difference.

    `usage` is None for an integration without calls in the month. `statement_microcents` is the
    exact cost as corrected in the sealed statement; None while the month is open.
    """

    integration: CusIntegration
    invoice: CusProviderInvoice | None
    usage: UsageFigures | None
    bypassed_calls: int
    missing_records: int
    statement_microcents: int | None

    @property
    def corrected_microcents(self) -> int:
        """The exact cost, as corrected, of the calls that occurred in the month."""
        return self.usage.corrected_microcents if self.usage else 0

    @property
    def difference_microcents(self) -> int | None:
        """The invoice less the exact cost as corrected; None without an invoice."""
        if self.invoice is None:
            return None
        return self.invoice.total_cents * MICROCENTS_PER_CENT - self.corrected_microcents

    @property
    def unexplained_microcents(self) -> int | None:
        """The difference less what budgets count for calls of unknown usage."""
        if self.difference_microcents is None:
            return None
        return self.difference_microcents - self.explanations["unmeasured"]["microcents"]

    @property
    def explanations(self) -> dict[str, dict[str, int]]:
        """What may explain the difference, each with its amount or count."""
        usage = self.usage
        received = self.statement_microcents
        return {
            "unmeasured": {
                "calls": usage.unmeasured_calls if usage else 0,
                "microcents": usage.provisional_microcents if usage else 0,
            },
            "unpriced": {"calls": usage.unpriced_calls if usage else 0},
            "unpriced_units": {"calls": usage.unpriced_unit_calls if usage else 0},
            "bypass": {"calls": self.bypassed_calls},
            "gaps": {"records": self.missing_records},
            "corrections": {"microcents": usage.correction_microcents if usage else 0},
            "rounding": {"microcents": usage.rounding_microcents if usage else 0},
            "receipt": {
                "microcents": 0 if received is None else self.corrected_microcents - received
            },
        }


class CusInvoiceService:
    """The providers' invoices of one tenant."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    @transaction.atomic
    def enter(
        self, month: date, *, integration_id: uuid.UUID, total_cents: int, note: str = ""
    ) -> InvoiceCheck:
        """Enter the invoice's total (cents of US dollars) of an integration's month.

        A later entry takes the place of an earlier one, which is kept. The same total and note
        again change nothing. Raises IntegrationNotFound.
        """
        find_integration(self.tenant, integration_id)
        before = self._invoices(month).get(integration_id)
        if before is None or (before.total_cents, before.note) != (total_cents, note):
            invoice = CusProviderInvoice.objects.create(
                tenant_id=self.tenant.id,
                integration_id=integration_id,
                month=month,
                total_cents=total_cents,
                note=note,
                entered_by=self.actor.id if self.actor else None,
            )
            was = before.total_cents if before else None
            changes = {"total_cents": {"from": was, "to": total_cents}}
            record_change("invoice.entered", invoice, actor=self.actor, changes=changes)
        statement = CusMonthService(self.tenant).find(month)
        checks = self.checks(month, statement)
        return next(check for check in checks if check.integration.id == integration_id)

    def checks(self, month: date, statement: CusMonthStatement | None) -> list[InvoiceCheck]:
        """The month of each integration that had calls in it or has an invoice, by name.

        `statement`: the month's, if the month is closed.
        """
        period = period_of_month(month)
        invoices = self._invoices(month)
        usage = self._usage(period)
        bypassed, missing = self._bypassed(period), self._missing(period)
        named = CusIntegration.objects.select_related("tenant")
        rows = named.filter(tenant=self.tenant, id__in={*invoices, *usage})
        return [
            InvoiceCheck(
                integration=row,
                invoice=invoices.get(row.id),
                usage=usage.get(row.id),
                bypassed_calls=bypassed.get(row.id, 0),
                missing_records=missing.get(row.id, 0),
                statement_microcents=_of_statement(statement, row.id),
            )
            for row in rows.order_by("name", "id")
        ]

    def _invoices(self, month: date) -> dict[uuid.UUID, CusProviderInvoice]:
        entered = CusProviderInvoice.objects.filter(tenant_id=self.tenant.id, month=month)
        latest = entered.order_by("integration_id", "-entered_at").distinct("integration_id")
        return {invoice.integration_id: invoice for invoice in latest}

    def _usage(self, period: Period) -> dict[uuid.UUID, UsageFigures]:
        query = SummaryQuery(period, [Group.INTEGRATION])
        groups = CusUsageSummaries(self.tenant).summary(query).groups
        return {group.by[Group.INTEGRATION]: group.figures for group in groups}

    def _bypassed(self, period: Period) -> dict[uuid.UUID, int]:
        hours = CusBypassHour.objects.filter(
            tenant_id=self.tenant.id, hour__gte=period.start, hour__lt=period.end
        )
        sums = hours.values("integration_id").annotate(calls=Sum("bypassed_calls"))
        return {row["integration_id"]: row["calls"] for row in sums}

    def _missing(self, period: Period) -> dict[uuid.UUID, int]:
        """Records that are missing of the processes that reported within the month."""
        found: dict[uuid.UUID, int] = defaultdict(int)
        gaps, after = CusGapsService(self.tenant), None
        while True:
            asked = GapsFilter(seen_from=period.start)
            page: list[ProcessGaps] = gaps.gaps(asked, after=after, limit=_PROCESSES)
            for process in page:
                if process.first_seen_at < period.end:
                    found[process.integration_id] += process.missing_count
            if len(page) < _PROCESSES:
                return found
            after = page[-1].place


def _of_statement(statement: CusMonthStatement | None, integration_id: uuid.UUID) -> int | None:
    if statement is None:
        return None
    groups: list[dict[str, Any]] = statement.groups
    own = (group for group in groups if group["integration_id"] == str(integration_id))
    return sum(int(group["corrected_microcents"]) for group in own)
