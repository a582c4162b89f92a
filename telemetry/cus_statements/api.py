"""Month close and invoice check over HTTP, for finance (ruling C9)."""

from datetime import date
from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_accounts.api import PersonView
from integrations.cus_accounts.permissions import IsFinance, tenant_of
from integrations.cus_web.pages import filters_of
from telemetry.cus_clock import database_now
from telemetry.cus_statements.invoices import CusInvoiceService
from telemetry.cus_statements.serializers import (
    InvoiceInput,
    InvoiceOutput,
    InvoicesOutput,
    StatementOutput,
    TenantQuery,
)
from telemetry.cus_statements.service import CusMonthService

_MONTH = OpenApiParameter(
    "month",
    {"type": "string", "pattern": r"^2\d{3}-(0[1-9]|1[0-2])$"},
    OpenApiParameter.PATH,
    description="A month in UTC, such as 2026-11.",
)
_PARAMETERS: list[Any] = [_MONTH, TenantQuery]


class MonthCloseView(PersonView):
    """The close of a tenant's month."""

    permission_classes = [IsFinance]

    @extend_schema(
        operation_id="telemetry_month_statement",
        parameters=_PARAMETERS,
        responses={200: StatementOutput},
    )
    def get(self, request: Request, month: date) -> Response:
        """The sealed statement of a closed month; 404 while the month is not closed."""
        filters_of(request, TenantQuery)
        return Response(StatementOutput(self._service(request).get(month)).data)

    @extend_schema(
        operation_id="telemetry_month_close",
        parameters=_PARAMETERS,
        request=None,
        responses={
            201: StatementOutput,
            409: OpenApiResponse(description="Closed already, not over, or dropped by retention."),
        },
    )
    def post(self, request: Request, month: date) -> Response:
        """Close the month: its figures, by when records were received, are sealed."""
        filters_of(request, TenantQuery)
        statement = self._service(request).close(month, now=database_now())
        return Response(StatementOutput(statement).data, status=201)

    def _service(self, request: Request) -> CusMonthService:
        return CusMonthService(tenant_of(request), actor=self.person(request))


class MonthInvoicesView(PersonView):
    """The totals of providers' invoices beside a month's usage."""

    permission_classes = [IsFinance]

    @extend_schema(
        operation_id="telemetry_month_invoices",
        parameters=_PARAMETERS,
        responses={200: InvoicesOutput},
    )
    def get(self, request: Request, month: date) -> Response:
        """Each integration's invoice, usage and difference, and what explains the difference."""
        filters_of(request, TenantQuery)
        tenant = tenant_of(request)
        statement = CusMonthService(tenant).find(month)
        shown = {
            "month": f"{month:%Y-%m}",
            "closed_at": statement.closed_at if statement else None,
            "invoices": CusInvoiceService(tenant).checks(month, statement),
        }
        return Response(InvoicesOutput(shown).data)

    @extend_schema(
        operation_id="telemetry_month_invoice_enter",
        parameters=_PARAMETERS,
        request=InvoiceInput,
        responses={200: InvoiceOutput},
    )
    def put(self, request: Request, month: date) -> Response:
        """Enter the total of a provider's invoice for an integration's month, in US dollars."""
        filters_of(request, TenantQuery)
        fields = self.fields(request, InvoiceInput)
        fields.pop("currency")
        service = CusInvoiceService(tenant_of(request), actor=self.person(request))
        return Response(InvoiceOutput(service.enter(month, **fields)).data)
