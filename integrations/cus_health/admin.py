"""Health in the console: its history, and a button that tests an integration now."""

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.decorators import display

from integrations.cus_accounts.models import CusUser
from integrations.cus_console import panels
from integrations.cus_console.actions import CusActions, Question, asked
from integrations.cus_console.export import CusExport
from integrations.cus_console.filters import TIME_FILTERS, choice
from integrations.cus_console.newest_first import NewestFirst
from integrations.cus_console.pages import EVERY_ROLE, CusOfTenants, CusReadOnlyAdmin
from integrations.cus_console.panels import Page, Panel, table
from integrations.cus_health.models import CusHealthTransition
from integrations.cus_health.service import CusHealthService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import CusError

_LAST = 20
_LABELS = {"healthy": "success", "degraded": "warning", "failing": "danger"}


def health_of(_request: HttpRequest, integration: CusIntegration) -> SafeString:
    """The integration's last changes of health, credential state and status."""
    rows = CusHealthTransition.objects.filter(integration=integration).order_by("-checked_at")
    return table(
        ["Checked (UTC)", "Change", "What the provider answered"],
        [
            [f"{one.checked_at:%Y-%m-%d %H:%M:%S}", change_of(one), one.message]
            for one in rows[:_LAST]
        ],
        empty="Nothing changed since the integration was made.",
        note=f"The newest {_LAST} changes at the most.",
    )


def change_of(transition: CusHealthTransition) -> str:
    """What a check changed, in words."""
    pairs = (
        ("health", transition.health_from, transition.health_to),
        ("credential", transition.credential_from, transition.credential_to),
        ("status", transition.status_from, transition.status_to),
    )
    return ", ".join(f"{name} {was} → {now}" for name, was, now in pairs if was != now)


panels.register(
    Panel(
        Page.INTEGRATION, "health-changes", "Changes of health", EVERY_ROLE, health_of, tab="health"
    )
)


@admin.register(CusHealthTransition)
class CusHealthTransitionAdmin(CusExport, NewestFirst, CusOfTenants, CusReadOnlyAdmin):
    """Changes of health, credential state and status, each with its check."""

    list_display = ("checked_at", "integration", "health", "change", "message")
    moment_column = "checked_at"
    tenant_after = "integration"
    list_filter = (
        choice("health_to", "health", CusIntegration.Health.choices),
        choice("credential_to", "credential", CusIntegration.CredentialState.choices),
        choice("status_to", "status", CusIntegration.Status.choices),
        *TIME_FILTERS,
    )
    search_fields = ("integration__name", "tenant__name")
    list_select_related = ("integration", "tenant")
    fields = (
        "integration",
        "tenant_shown",
        "checked_at",
        "change",
        "verdict",
        "message",
        "latency_ms",
    )
    readonly_fields = ("tenant_shown", "change")

    @display(description="Health", ordering="health_to", label=_LABELS)
    def health(self, transition: CusHealthTransition) -> tuple[str, str]:
        return transition.health_to, transition.get_health_to_display()

    @display(description="Change")
    def change(self, transition: CusHealthTransition) -> str:
        return change_of(transition)


# Not atomic: a transaction would lock the row until the provider answers.
_TEST_NOW = Question(
    "Test the integration now",
    "The test asks the provider for its list of models, which costs nothing.",
    "Test now",
    "The provider answered.",
    is_atomic=False,
)


class DidNotPass(CusError):
    """The provider did not pass the test."""

    code, status = "did_not_pass", 409


class CusHealthTestButton(CusActions):
    """Mixin for the page of an integration: "Test now" asks first, and tests on POST alone."""

    @asked(_TEST_NOW, description="Test now", icon="network_check")
    def test_now(self, row: CusIntegration, actor: CusUser) -> str:
        """Ask the provider once, as POST …/test does, and return its answer as a text.

        Raises DidNotPass, and the refusals of the health service.
        """
        result = CusHealthService(row.tenant, actor=actor).test(row, now=timezone.now())
        if not result.ok:
            raise DidNotPass(result.message)
        return result.message
