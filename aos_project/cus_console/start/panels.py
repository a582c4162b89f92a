"""The set-up list on the first page of a tenant's admin, until the first call."""

from typing import cast

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from aos_project.cus_console.start import steps
from aos_project.cus_console.start.steps import Step
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusPeriodTotals


def set_up_list(request: HttpRequest, _subject: None) -> SafeString | None:
    """The steps to the first call of the person's tenant, with the one that is next."""
    person = cast("CusUser", request.user)
    if visible_to(CusPeriodTotals.objects.all(), person).exists():
        return None
    living = CusIntegration.objects.filter(deleted_at__isnull=True)
    begun = visible_to(living, person).order_by("-created_at").first()
    step = steps.next_step(begun) if begun else Step.PROVIDER
    context = {
        "steps": steps.line_of_steps(step),
        "begun": begun,
        "next": steps.address_of(step, begun) if begun else reverse("cus-start"),
    }
    return render_to_string("admin/cus_set_up.html", context)
