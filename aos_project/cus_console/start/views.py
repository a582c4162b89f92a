"""The pages of guided creation (ruling C9: for operators and tenants' admins)."""

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from aos_project.cus_console.start import steps
from aos_project.cus_console.start.forms import (
    CredentialForm,
    CustomerForm,
    IntegrationForm,
    LimitsForm,
    StepForm,
)
from aos_project.cus_console.start.steps import Step
from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_accounts.permissions import role_of, visible_to
from integrations.cus_accounts.proof import needs_proof
from integrations.cus_accounts.proof_pages import ask_for_proof
from integrations.cus_console import own_page
from integrations.cus_console.own_page import Layout, Link
from integrations.cus_console.page_tenant import TENANT
from integrations.cus_console.pages import tenants_of
from integrations.cus_health.service import CusHealthService
from integrations.cus_integrations.panels import integration_page
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.service import CusSdkKeyService
from integrations.cus_keys.snippets import PLACEHOLDER, snippets
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers.registry import PROVIDERS
from integrations.cus_tenancy.member_service import CusMemberService
from integrations.cus_tenancy.settings_service import CusTenantSettingsService
from integrations.cus_tenancy.tenant_service import CusTenantService
from integrations.cus_web.errors import CusError
from telemetry.cus_evidence.panels import record_page

_MOST_UNFINISHED = 10
_METHODS = require_http_methods(["GET", "HEAD", "POST"])
_View = Callable[..., HttpResponse]


def _proof_before_form(view: _View) -> _View:
    """Ask for a proof before the form opens. A form that is sent without one says so and keeps what
    was typed.
    """

    @wraps(view)
    def asked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "POST" and needs_proof(request):
            return ask_for_proof(request)
        return view(request, *args, **kwargs)

    return asked


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """Choose a provider, go on with what was begun, or, for operators, begin with a customer."""
    waiting = steps.without_calls(_seen(request)).select_related("tenant")[:_MOST_UNFINISHED]
    is_operator = role_of(request.user) == "operator"
    layout = Layout(
        title="Connect an integration",
        lead="From a provider's key to the first recorded call: about two minutes.",
        buttons=[Link("A new customer first", reverse("cus-start-tenant"))] if is_operator else [],
    )
    whose = {TENANT: request.GET.get(TENANT, "")}
    return _shown(
        request,
        layout,
        Step.PROVIDER,
        choices=[
            Link(provider.label, _with(reverse("cus-start-provider", args=[key]), whose))
            for key, provider in PROVIDERS.items()
        ],
        unfinished=[
            Link(f"{one.name}, {one.tenant}", steps.address_of(steps.next_step(one), one))
            for one in waiting
        ],
    )


@_proof_before_form
@_METHODS
def customer(request: HttpRequest) -> HttpResponse:
    """For operators: a tenant and the invitation of its first admin; then its first integration."""
    form = CustomerForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        tenant = form.attempt(lambda: _make_customer(request, form.cleaned_data))
        if tenant:
            messages.success(request, f"{tenant} is made, and its first admin is invited by mail.")
            return redirect(_with(reverse("cus-start"), {TENANT: str(tenant.id)}))
    layout = Layout(title="A new customer", trail=[Link("Connect", reverse("cus-start"))])
    return own_page.shown(request, layout, form=form, form_button="Make it, and invite")


@_proof_before_form
@_METHODS
def provider(request: HttpRequest, provider_type: str) -> HttpResponse:
    """A new integration with its credential."""
    chosen = PROVIDERS.get(provider_type)
    if chosen is None:
        raise Http404
    tenants, own = _tenants(request)
    first = {"name": chosen.label, "tenant": request.GET.get(TENANT)}
    form = IntegrationForm(chosen, tenants, request.POST or None, initial=first)
    if request.method == "POST" and form.is_valid():
        service = CusIntegrationService(form.tenant(own), actor=_person(request))
        made = form.attempt(
            lambda: service.create(
                name=form.cleaned_data["name"],
                provider_type=chosen.key,
                credential=form.credential,
                config=form.config,
            )
        )
        if made:
            return redirect(steps.address_of(Step.TEST, made))
    lead = "The credential is stored encrypted, and never shown again."
    layout = Layout(title=f"Connect {chosen.label}", lead=lead)
    return _form_page(request, layout, Step.CREDENTIAL, form, "Store it")


@_proof_before_form
@_METHODS
def credential(request: HttpRequest, integration_id: uuid.UUID) -> HttpResponse:
    """Another credential for an integration whose first one did not pass the test."""
    integration = _integration(request, integration_id)
    form = CredentialForm(PROVIDERS[integration.provider_type], request.POST or None)
    if request.method == "POST" and form.is_valid():
        service = CusIntegrationService(integration.tenant, actor=_person(request))
        if form.attempt(lambda: service.change(integration.id, credential=form.credential)):
            return redirect(steps.address_of(Step.TEST, integration))
    layout = Layout(title=f"Another credential for {integration.name}")
    return _form_page(request, layout, Step.CREDENTIAL, form, "Store it")


@_METHODS
def test(request: HttpRequest, integration_id: uuid.UUID) -> HttpResponse:
    """Ask the provider whether it accepts the credential."""
    integration = _integration(request, integration_id)
    if request.method == "POST":
        _test(request, integration)
        return redirect(steps.address_of(Step.TEST, integration))
    is_tested = integration.health_checked_at is not None
    on = steps.address_of(Step.LIMITS, integration)
    buttons = [Link("Go on to the limits", on, variant="primary")]
    if steps.is_refused(integration):
        again = steps.address_of(Step.CREDENTIAL, integration)
        buttons = [Link("Enter another credential", again, variant="primary")]
    layout = Layout(
        title=f"Test {integration.name}",
        lead="The test asks the provider for its list of models, which costs nothing. An integration "
        "whose credential is refused can't be enabled.",
        buttons=buttons if is_tested else [],
    )
    return _shown(
        request,
        layout,
        Step.TEST,
        form=StepForm(),
        form_title=steps.outcome_of(integration) if is_tested else "",
        form_text=integration.health_message or "" if is_tested else "",
        form_button="Test again" if is_tested else "Test now",
    )


@_METHODS
def limits(request: HttpRequest, integration_id: uuid.UUID) -> HttpResponse:
    """Set the limits, and let the integration serve."""
    integration = _integration(request, integration_id)
    form = LimitsForm(integration, request.POST or None)
    if request.method == "POST" and form.is_valid():
        service = CusIntegrationService(integration.tenant, actor=_person(request))
        entered: dict[str, Any] = form.limits
        done = form.attempt(lambda: service.enable(service.change(integration.id, **entered)))
        if done:
            messages.success(request, f"{integration.name} is enabled.")
            return redirect(steps.address_of(Step.KEY, integration))
    layout = Layout(
        title=f"Limits of {integration.name}",
        lead="A call that would exceed a limit is refused before it reaches the provider. More "
        "settings are on the integration's page.",
    )
    return _form_page(request, layout, Step.LIMITS, form, "Set them, and enable")


@never_cache
@_proof_before_form
@_METHODS
def key(request: HttpRequest, integration_id: uuid.UUID) -> HttpResponse:
    """Issue the key, show it once with the programs for it, and wait for the first call."""
    integration = _integration(request, integration_id)
    text, form = "", StepForm()
    if request.method == "POST":
        form = StepForm(request.POST)
        form.is_valid()
        service = CusSdkKeyService(integration, actor=_person(request))
        issued = form.attempt(lambda: service.issue(label="Guided creation"))
        text = issued[1] if issued else ""
    has_key = bool(text) or steps.has_key(integration)
    layout = Layout(
        title=f"Key of {integration.name}",
        lead="" if has_key else "Programs report and ask with this key. It is shown once.",
        buttons=[Link("The integration's page", integration_page(integration.id))],
    )
    address = request.build_absolute_uri("/").rstrip("/")
    context: dict[str, Any] = {
        "issued": text,
        "has_key": has_key,
        "keys": CusSdkKey.objects.filter(integration=integration, revoked_at=None),
        "snippets": snippets(integration.provider_type, address, text or PLACEHOLDER),
        **_first_call(integration),
    }
    if not has_key or form.errors:
        context |= {"form": form, "form_button": "Issue the key"}
    return _shown(request, layout, Step.KEY, **context)


@never_cache
@require_safe
def call(request: HttpRequest, integration_id: uuid.UUID) -> HttpResponse:
    """The part of the key's page that waits for the first call; a script asks for it."""
    context = _first_call(_integration(request, integration_id))
    return render(request, "admin/cus_first_call.html", context)


def _first_call(integration: CusIntegration) -> dict[str, Any]:
    first = steps.first_call_of(integration)
    return {
        "integration": integration,
        "first_call": first,
        "first_call_page": record_page(first) if first else "",
    }


def _form_page(
    request: HttpRequest, layout: Layout, step: Step, form: StepForm, button: str
) -> HttpResponse:
    return _shown(request, layout, step, form=form, form_button=button)


def _shown(request: HttpRequest, layout: Layout, step: Step, **context: Any) -> HttpResponse:
    return own_page.shown(
        request,
        layout,
        template="admin/cus_start.html",
        steps=steps.line_of_steps(step),
        **context,
    )


def _make_customer(request: HttpRequest, entered: dict[str, Any]) -> CusTenant:
    actor = _person(request)
    tenant = CusTenantService(actor=actor).create(entered["name"])
    CusTenantSettingsService(tenant, actor=actor).change(time_zone=entered["time_zone"])
    members = CusMemberService(tenant, actor=actor)
    members.invite(email=entered["email"], role=CusMembership.Role.ADMIN)
    return tenant


def _test(request: HttpRequest, integration: CusIntegration) -> None:
    service = CusHealthService(integration.tenant, actor=_person(request))
    try:
        # The page that follows shows the result.
        service.test(integration, now=timezone.now())
    except CusError as refusal:
        messages.error(request, refusal.detail)


def _tenants(request: HttpRequest) -> tuple[Any, CusTenant | None]:
    """The tenants to choose from, for operators; for others none, and their own."""
    tenants = tenants_of(request)
    if role_of(request.user) == "operator":
        return tenants, None
    return None, tenants.get()


def _seen(request: HttpRequest) -> Any:
    living = CusIntegration.objects.filter(deleted_at__isnull=True, tenant__closed_at__isnull=True)
    return visible_to(living, _person(request))


def _integration(request: HttpRequest, integration_id: uuid.UUID) -> CusIntegration:
    found: CusIntegration = get_object_or_404(
        _seen(request).select_related("tenant"), id=integration_id
    )
    return found


def _with(address: str, query: dict[str, str]) -> str:
    given = {name: value for name, value in query.items() if value}
    return f"{address}?{urlencode(given)}" if given else address


def _person(request: HttpRequest) -> CusUser:
    return cast("CusUser", request.user)
