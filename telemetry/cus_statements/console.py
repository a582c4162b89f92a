"""The console's pages on a month: its statement, its close, and the check of invoices."""

from datetime import date, timedelta
from typing import Any, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, F, OuterRef, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console.actions import Question
from integrations.cus_console.own_page import Layout, Link, shown
from integrations.cus_console.page_tenant import of_tenant, tenant_shown, tenant_trail
from integrations.cus_console.panels import ShownPanel, table
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import CusError
from telemetry.cus_clock import database_now, page_now
from telemetry.cus_evidence.models import CusPeriodTotals
from telemetry.cus_reads.summaries import Group
from telemetry.cus_statements.invoice_table import invoice_table
from telemetry.cus_statements.invoices import CusInvoiceService
from telemetry.cus_statements.models import CusMonthStatement
from telemetry.cus_statements.month_tables import GROUPS, HEADERS, MEANING, MonthRow, month_table
from telemetry.cus_statements.months import CLOSING_WAIT, period_of_month
from telemetry.cus_statements.service import CusMonthService, is_intact

_MOST_TENANTS = 200
_INVOICES = "invoices"
# Ten billion dollars.
_MOST_DOLLARS = 10**10
_CLOSERS = ("operator", "finance")


def statement_now(request: HttpRequest) -> HttpResponse:
    """The statement of this month."""
    address = reverse("cus-statement", args=[page_now(request).date()])
    query = request.META.get("QUERY_STRING", "")
    return redirect(f"{address}?{query}" if query else address)


@require_safe
def statement(request: HttpRequest, month: date) -> HttpResponse:
    """A tenant's month by integration, model, agent or day; for the staff, all tenants' months."""
    tenant = tenant_shown(request)
    if tenant is None:
        return _all_tenants(request, month)
    group = _group_asked(request)
    service = CusMonthService(tenant)
    closed = service.find(month)
    try:
        html = month_table(tenant, month, group, closed)
    except CusError as refusal:
        messages.error(request, refusal.detail)
        html = table((), (), empty="The month's figures can't be read.")
    title = f"By {GROUPS[group].lower()}"
    return shown(
        request, _layout(request, tenant, month, closed, group, [ShownPanel("by", title, html)])
    )


@require_http_methods(["GET", "HEAD", "POST"])
def close_month(request: HttpRequest, month: date) -> HttpResponse:
    """Ask, then close a tenant's month."""
    tenant = tenant_shown(request)
    if tenant is None:
        raise Http404
    back = of_tenant(request, reverse("cus-statement", args=[month]), tenant)
    if request.method != "POST":
        question = Question(
            f"Close {month:%B %Y}",
            "The month's figures are kept as they are now, under a seal. What is corrected or "
            "becomes known later is in the month in which it comes. This can't be undone.",
            "Close the month",
            "The month is closed.",
        )
        context = {"title": question.title, "question": question, "about": tenant, "back": back}
        whole = admin.site.each_context(request) | context
        return render(request, "admin/cus_question.html", whole)
    try:
        CusMonthService(tenant, actor=cast("CusUser", request.user)).close(
            month, now=database_now()
        )
    except CusError as refusal:
        messages.error(request, refusal.detail)
    else:
        messages.success(request, f"{month:%B %Y} is closed.")
    return redirect(back)


class InvoiceForm(forms.Form):
    """The total of a provider's invoice for an integration's month."""

    integration = forms.ModelChoiceField(
        CusIntegration.objects.none(), widget=UnfoldAdminSelectWidget
    )
    total = forms.DecimalField(
        label="The invoice's total, in US dollars",
        min_value=0,
        max_value=_MOST_DOLLARS,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "0.01"}),
    )
    note = forms.CharField(
        label="Note",
        max_length=500,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "The invoice's number"}),
    )

    def __init__(self, tenant: CusTenant, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Deleted ones too: their last invoice comes after they were deleted.
        choices = CusIntegration.objects.filter(tenant=tenant).order_by("name")
        cast("Any", self.fields["integration"]).queryset = choices


@require_http_methods(["GET", "HEAD", "POST"])
def invoices(request: HttpRequest, month: date) -> HttpResponse:
    """Each integration's invoice beside its usage, and the form to enter one."""
    tenant = tenant_shown(request)
    if tenant is None:
        return redirect("cus-statement", month)
    may_enter = role_of(request.user) in _CLOSERS
    form = InvoiceForm(tenant, request.POST or None) if may_enter else None
    if request.method == "POST":
        if form is None:
            raise PermissionDenied
        if form.is_valid():
            _enter(request, tenant, month, form.cleaned_data)
            here = reverse("cus-statement-invoices", args=[month])
            return redirect(of_tenant(request, here, tenant))
    closed = CusMonthService(tenant).find(month)
    html = invoice_table(CusInvoiceService(tenant).checks(month, closed), month)
    panels = [ShownPanel(_INVOICES, "Providers' invoices beside usage", html)]
    layout = _layout(request, tenant, month, closed, _INVOICES, panels)
    return shown(request, layout, form=form, form_title="Enter an invoice", form_button="Enter")


def _enter(request: HttpRequest, tenant: CusTenant, month: date, entered: dict[str, Any]) -> None:
    check = CusInvoiceService(tenant, actor=cast("CusUser", request.user)).enter(
        month,
        integration_id=entered["integration"].id,
        total_cents=int(entered["total"] * 100),
        note=entered["note"],
    )
    messages.success(request, f"The invoice of {check.integration.name} is entered.")


def _group_asked(request: HttpRequest) -> Group:
    named = request.GET.get("by", Group.INTEGRATION)
    found = next((group for group in GROUPS if group == named), None)
    if found is None:
        messages.warning(request, f"A month is not shown by “{named[:50]}”.")
    return found or Group.INTEGRATION


def _layout(
    request: HttpRequest,
    tenant: CusTenant,
    month: date,
    closed: CusMonthStatement | None,
    here: str,
    panels: list[ShownPanel],
) -> Layout:
    address = reverse("cus-statement", args=[month])
    tabs = [
        Link(f"By {name.lower()}", of_tenant(request, address, tenant, by=group), here == group)
        for group, name in GROUPS.items()
    ]
    checks = reverse("cus-statement-invoices", args=[month])
    tabs.append(Link("Invoices", of_tenant(request, checks, tenant), here == _INVOICES))
    return Layout(
        title=f"{month:%B %Y}, {tenant.name}",
        lead=_lead(month, closed),
        trail=[*tenant_trail(request, address, tenant), *_neighbours(request, month, tenant)],
        tabs=tabs,
        buttons=_buttons(request, tenant, month, closed),
        panels=panels,
    )


def _lead(month: date, closed: CusMonthStatement | None) -> str:
    if closed is None:
        return (
            "The month is open: its figures, by when the calls occurred (UTC), still change. Days "
            "are up to a minute late."
        )
    intact = "Its seal is intact" if is_intact(closed) else "ITS SEAL IS BROKEN: it was altered"
    return (
        f"Closed on {closed.closed_at:%d %B %Y, %H:%M} UTC. The statement has what was received in "
        f"the month (UTC). {intact}: {closed.digest[:16]}…"
    )


def _buttons(
    request: HttpRequest, tenant: CusTenant, month: date, closed: CusMonthStatement | None
) -> list[Link]:
    period = period_of_month(month)
    may_close = role_of(request.user) in _CLOSERS and closed is None
    buttons = []
    if may_close and page_now(request) >= period.end + CLOSING_WAIT:
        close = of_tenant(request, reverse("cus-statement-close", args=[month]), tenant)
        buttons.append(Link("Close the month", close, variant="primary"))
    last = period.end.date() - timedelta(days=1)
    days = {"from": f"{period.start:%Y-%m-%d}", "to": f"{last:%Y-%m-%d}", "format": "csv"}
    focus = f"{reverse('cus-focus')}?{urlencode(days | {'tenant_id': str(tenant.id)})}"
    buttons.append(Link("Export as CSV (FOCUS)", focus))
    return buttons


def _neighbours(request: HttpRequest, month: date, tenant: CusTenant | None) -> list[Link]:
    """Links to the month before and, up to this month, to the month after."""
    before = (month - timedelta(days=1)).replace(day=1)
    after = (month + timedelta(days=31)).replace(day=1)
    months = [before] if after > page_now(request).date() else [before, after]
    return [
        Link(f"{one:%B %Y}", of_tenant(request, reverse("cus-statement", args=[one]), tenant))
        for one in months
    ]


def _all_tenants(request: HttpRequest, month: date) -> HttpResponse:
    """The month of each tenant, dearest first, by when records were received."""
    address = reverse("cus-statement", args=[month])
    closed = CusMonthStatement.objects.filter(tenant_id=OuterRef("tenant_id"), month=month)
    sums = (
        CusPeriodTotals.objects.filter(period=month)
        .values("tenant_id")
        .annotate(
            ran=Sum("calls"),
            failed=Sum("errors"),
            refused=Sum("blocked"),
            counted=Sum("counted_cents"),
            recorded=Sum("cost_microcents"),
            corrected=Sum(F("cost_microcents") + F("correction_microcents")),
            is_closed=Exists(closed),
        )
        .order_by("-corrected", "tenant_id")
    )
    found = list(sums[: _MOST_TENANTS + 1])
    tenants = CusTenant.objects.in_bulk([one["tenant_id"] for one in found])
    rows = []
    for one in found[:_MOST_TENANTS]:
        tenant = tenants[one["tenant_id"]]
        figures = MonthRow(
            calls=one["ran"],
            errors=one["failed"],
            refused=one["refused"],
            recorded_microcents=one["recorded"],
            corrected_microcents=one["corrected"],
            counted_cents=one["counted"],
        )
        link = Link(tenant.name, of_tenant(request, address, tenant)).html
        rows.append([link, "closed" if one["is_closed"] else "open", *figures.cells])
    html = table(
        ["Tenant", "Month", *HEADERS],
        rows,
        empty=f"Nothing was received in {month:%B %Y}.",
        note=MEANING + (f" The {_MOST_TENANTS} dearest." if len(found) > _MOST_TENANTS else ""),
    )
    return shown(
        request,
        Layout(
            title=f"{month:%B %Y}",
            lead="What each tenant's integrations used, by when the records were received (UTC).",
            trail=_neighbours(request, month, None),
            panels=[ShownPanel("tenants", "Tenants", html)],
        ),
    )
