"""The console's pages on what-if: ask, and see what came out."""

import uuid
from decimal import Decimal
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods, require_safe
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from enforcement.cus_what_if import start
from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.proposals import permanent_limits
from enforcement.cus_what_if.report_tables import sections
from enforcement.cus_what_if.scoped_form import ScopedBoxes
from enforcement.cus_what_if.service import MOST_DAYS, CusWhatIfService, find_simulation
from integrations.cus_accounts.models import CusUser
from integrations.cus_integrations.panels import integration_page
from integrations.cus_lifecycle.console import integration_shown
from integrations.cus_lifecycle.limits import LIMITS, Limit, Unit
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import CusError
from telemetry.cus_clock import page_now

_USUAL_DAYS = 30
_SHOWN = 10
_CENTS = 100


class WhatIfForm(forms.Form):
    """Boxes for proposed limits, filled with those of now."""

    days = forms.IntegerField(
        label="Days back from now",
        min_value=1,
        max_value=MOST_DAYS,
        widget=UnfoldAdminIntegerFieldWidget,
    )
    enforcement_level = forms.ChoiceField(
        choices=CusIntegration.EnforcementLevel.choices, widget=UnfoldAdminSelectWidget
    )
    budget_basis = forms.ChoiceField(
        choices=CusIntegration.BudgetBasis.choices, widget=UnfoldAdminSelectWidget
    )
    allow_unpriced = forms.BooleanField(required=False, widget=UnfoldBooleanSwitchWidget)

    def __init__(self, integration: CusIntegration, data: Any = None) -> None:
        """The form with a box for each limit. `data` is what was posted, if anything was."""
        others = ("enforcement_level", "budget_basis", "allow_unpriced")
        initial = {"days": _USUAL_DAYS} | {name: getattr(integration, name) for name in others}
        initial |= {limit.column: _entered(integration, limit) for limit in LIMITS}
        super().__init__(data, initial=initial)
        self.fields |= {limit.column: _box(limit) for limit in LIMITS}
        self.order_fields(["days", *(limit.column for limit in LIMITS), *others])

    def proposed(self) -> dict[str, Any]:
        """The proposed columns, with money in cents."""
        values = dict(self.cleaned_data)
        del values["days"]
        for limit in LIMITS:
            if limit.unit is Unit.CENTS:
                values[limit.column] = int(values[limit.column] * _CENTS)
        return values


def _entered(integration: CusIntegration, limit: Limit) -> Any:
    value = getattr(integration, limit.column)
    return Decimal(value) / _CENTS if limit.unit is Unit.CENTS else value


def _box(limit: Limit) -> forms.Field:
    label, hint = limit.label.capitalize(), "0: no limit"
    if limit.unit is Unit.CENTS:
        return forms.DecimalField(
            label=label.replace("(cents)", "(US dollars)"),
            help_text=hint,
            min_value=Decimal(0),
            max_value=Decimal(limit.most) / _CENTS,
            decimal_places=2,
            widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "0.01"}),
        )
    widget = UnfoldAdminIntegerFieldWidget
    return forms.IntegerField(
        label=label, help_text=hint, min_value=0, max_value=limit.most, widget=widget
    )


@require_http_methods(["GET", "HEAD", "POST"])
def what_if(request: HttpRequest, integration_id: uuid.UUID) -> HttpResponse:
    """Ask what proposed limits would have done with an integration's calls."""
    integration = integration_shown(request, integration_id)
    form = WhatIfForm(integration, request.POST or None)
    limits = permanent_limits(integration, now=page_now(request))
    scoped = ScopedBoxes(limits, request.POST or None)
    if request.method == "POST" and all([form.is_valid(), scoped.is_valid()]):
        try:
            return redirect(page_of(_asked(request, integration, form, scoped)))
        except CusError as refusal:
            messages.error(request, refusal.detail)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
    context = {
        "title": f"What if: {integration.name}",
        "form": form,
        "scoped": scoped,
        "integration": integration,
        "back": integration_page(integration.id),
        "earlier": _earlier(integration),
    }
    return render(request, "admin/cus_what_if.html", admin.site.each_context(request) | context)


@require_safe
def simulated(
    request: HttpRequest, integration_id: uuid.UUID, simulation_id: uuid.UUID
) -> HttpResponse:
    """What came out of a simulation, or how far it is."""
    integration = integration_shown(request, integration_id)
    rows = CusWhatIfService(integration.tenant).latest(integration)
    try:
        simulation = find_simulation(rows, simulation_id)
    except CusError:
        raise Http404 from None
    context = {
        "title": f"What if: {integration.name}",
        "simulation": simulation,
        "panels": sections(simulation),
        "ask": reverse("cus-what-if", args=[integration.id]),
        "back": integration_page(integration.id),
    }
    page = "admin/cus_simulation.html"
    return render(request, page, admin.site.each_context(request) | context)


def what_if_panel(_request: HttpRequest, integration: CusIntegration) -> SafeString:
    """The integration's last simulations, and where to ask for another."""
    context = {
        "ask": reverse("cus-what-if", args=[integration.id]),
        "earlier": _earlier(integration),
    }
    return render_to_string("admin/cus_what_if_panel.html", context)


def page_of(simulation: CusSimulation) -> str:
    """The address of a simulation's page."""
    return reverse("cus-simulation", args=[simulation.integration_id, simulation.id])


def _asked(
    request: HttpRequest, integration: CusIntegration, form: WhatIfForm, scoped: ScopedBoxes
) -> CusSimulation:
    service = CusWhatIfService(integration.tenant, actor=cast("CusUser", request.user))
    asked = service.ask(
        integration,
        days=form.cleaned_data["days"],
        proposed=form.proposed(),
        scoped_limits=scoped.proposed(),
    )
    return start.start_simulation(asked, at_once=start.ROWS_OF_A_PAGE)


def _earlier(integration: CusIntegration) -> list[dict[str, Any]]:
    rows = CusWhatIfService(integration.tenant).latest(integration)[:_SHOWN]
    return [{"page": page_of(one), "simulation": one} for one in rows]
