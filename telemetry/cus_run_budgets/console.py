"""The console's pages on an integration's budgets in code: find a session, and raise its budget."""

import uuid
from datetime import datetime
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_safe
from rest_framework.exceptions import NotFound
from unfold.widgets import UnfoldAdminTextInputWidget

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console.own_page import Layout, Link, shown
from integrations.cus_console.panels import ShownPanel, name_values
from integrations.cus_integrations.panels import integration_page
from integrations.cus_lifecycle.console import integration_shown
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.form import amount_box, entered_amount, shown_amount
from integrations.cus_limits.rights import DECIDERS
from integrations.cus_limits.words import moment_text
from integrations.cus_web.errors import CusError
from telemetry.cus_clock import database_now
from telemetry.cus_evidence.panels import calls_page
from telemetry.cus_holds.limit_models import CusRunLimit
from telemetry.cus_reads.pages import Page, cursor_of, page_of, place_of
from telemetry.cus_run_budgets.panels import bars_of, budgets_shown, page_of_all, written
from telemetry.cus_run_budgets.service import CusRunBudgetService, RunLimitChanged
from telemetry.cus_run_budgets.uses import RunAmount, amounts_of

_PAGE_SIZE = 50
_LEAD = (
    "A budget in code is what a program lets a session use in all. It can't be raised in code: a "
    "person raises it here. Idle budgets are dropped after 30 days, or to make room for new ones; a "
    "session that names its budget again begins with what its stored calls used."
)


@require_safe
def run_limits(request: HttpRequest, integration_id: uuid.UUID) -> HttpResponse:
    """The integration's budgets in code, the last named first; or that of one session."""
    integration = integration_shown(request, integration_id)
    session = request.GET.get("session", "").strip()
    found = _page(integration, session, request.GET.get("cursor", ""))
    panels = [ShownPanel("budgets", "Sessions", budgets_shown(found.rows))]
    buttons = [Link("All sessions", page_of_all(integration.id))] if session else []
    if found.next:
        cursor = urlencode({"cursor": cursor_of(found.next)})
        buttons.append(Link("Earlier ones", f"{page_of_all(integration.id)}?{cursor}"))
    layout = Layout(
        title=f"Budgets in code of {integration.name}",
        lead=_LEAD,
        trail=_trail(integration),
        buttons=buttons,
        panels=panels,
    )
    return shown(request, layout, template="admin/cus_run_limits.html", session=session)


class RaiseForm(forms.Form):
    """What a session may use in all, in the units in which code limits it, and why."""

    reason = forms.CharField(
        label="Why",
        max_length=500,
        help_text="For those who read the audit trail.",
        widget=UnfoldAdminTextInputWidget,
    )
    # The version that the person saw; a later version means that another person changed the row.
    seen_version = forms.IntegerField(widget=forms.HiddenInput, required=False)

    def __init__(self, row: CusRunLimit, amounts: list[RunAmount], data: Any = None) -> None:
        super().__init__(data, initial={"seen_version": row.version})
        self._units = [amount.unit for amount in amounts]
        for amount in amounts:
            raised = amount.raised_to
            self.fields[amount.unit] = amount_box(
                f"Code gives {written(amount.unit, amount.by_code)}; empty: as code.",
                label=_LABELS.get(amount.unit, amount.unit.capitalize()),
                required=False,
                initial=None if raised is None else shown_amount(amount.unit, raised),
            )
        self.order_fields([*self._units, "reason"])

    def raised(self) -> dict[str, int | None]:
        """The amounts by unit; None where a box is empty. Raises ValidationError."""
        entered = {unit: self.cleaned_data[unit] for unit in self._units}
        return {
            unit: None if amount is None else _entered(unit, amount)
            for unit, amount in entered.items()
        }


_LABELS = {"cents": "US dollars", "microcents": "Microcents (10⁻⁶ cent)"}


def _entered(unit: str, amount: Any) -> int:
    try:
        return entered_amount(unit, amount)
    except ValidationError as refusal:
        raise ValidationError({unit: refusal.messages}) from None


@require_http_methods(["GET", "HEAD", "POST"])
def run_limit(request: HttpRequest, integration_id: uuid.UUID, limit_id: uuid.UUID) -> HttpResponse:
    """A session's budget, what is taken of it, and the form to raise it."""
    integration = integration_shown(request, integration_id)
    row = get_object_or_404(CusRunBudgetService(integration).scope(), limit_id=limit_id)
    amounts = list(amounts_of([row])[row.limit_id])
    may_raise = role_of(request.user) in DECIDERS
    form = RaiseForm(row, amounts, request.POST or None) if may_raise else None
    if request.method == "POST":
        if form is None:
            raise PermissionDenied
        if form.is_valid() and _raise(request, integration, row, form):
            return redirect(request.path)
    panels = [
        ShownPanel("use", "Use", bars_of(amounts)),
        ShownPanel("about", "About", name_values(_facts(row))),
    ]
    calls = calls_page(integration=str(integration.id), session_id=row.session_id)
    layout = Layout(
        title=f"Budget in code of session {row.session_id}",
        lead=_LEAD,
        trail=[*_trail(integration), Link("Budgets in code", page_of_all(integration.id))],
        buttons=[Link("Calls of the session", calls)],
        panels=panels,
    )
    return shown(request, layout, form=form, form_title="Raise it", form_button="Raise")


def _raise(
    request: HttpRequest, integration: CusIntegration, row: CusRunLimit, form: RaiseForm
) -> bool:
    """Raise the budget as the form says; else the form says why not."""
    service = CusRunBudgetService(integration, actor=cast("CusUser", request.user))
    try:
        service.raise_to(
            row.session_id,
            reason=form.cleaned_data["reason"],
            now=database_now(),
            # A missing version counts as 0, which never is the present version.
            expected_version=form.cleaned_data["seen_version"] or 0,
            **form.raised(),
        )
    except ValidationError as refusal:
        for name, texts in refusal.message_dict.items():
            form.add_error(name, texts)
        return False
    except RunLimitChanged:
        form.add_error(None, "Another person raised it while you had it open. Open it again.")
        return False
    except CusError as refusal:
        form.add_error(None, refusal.detail)
        return False
    messages.success(request, f"The budget of session {row.session_id} is as you entered it.")
    return True


def _facts(row: CusRunLimit) -> list[tuple[str, str]]:
    facts = [("First named", moment_text(row.created_at)), ("Last named", moment_text(row.used_at))]
    if row.raised_at:
        facts += [
            ("Raised", moment_text(row.raised_at)),
            ("By", row.raised_by),
            ("Why", row.raised_reason),
        ]
    return facts


def _page(integration: CusIntegration, session: str, cursor: str) -> Page[CusRunLimit]:
    """The budgets after a place, in the order of the index. Raises Http404 for a wrong cursor."""
    rows = CusRunBudgetService(integration).scope().order_by("-used_at", "session_id")
    if session:
        # No stored text has a NUL, and PostgreSQL takes none.
        rows = rows.none() if "\0" in session else rows.filter(session_id=session)
    if cursor:
        try:
            moment, name = place_of(cursor, tuple[datetime, str])
        except NotFound:
            raise Http404 from None
        rows = rows.filter(Q(used_at__lt=moment) | Q(used_at=moment, session_id__gt=name))
    return page_of(
        list(rows[: _PAGE_SIZE + 1]), _PAGE_SIZE, lambda row: (row.used_at, row.session_id)
    )


def _trail(integration: CusIntegration) -> list[Link]:
    return [Link(integration.name, integration_page(integration.id))]
