"""The console's own pages, and the roles that each is for (ruling C9)."""

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from aos_project.cus_console.cost import cost
from aos_project.cus_console.local_mails import mails
from aos_project.cus_console.own_pages import OwnPage
from aos_project.cus_console.start import views as start
from aos_project.cus_console.system import system
from integrations.cus_accounts.models import CusTenant
from integrations.cus_console.own_page import Link
from integrations.cus_console.page_tenant import of_tenant
from integrations.cus_console.pages import EVERY_ROLE
from integrations.cus_notifications.console import muted
from telemetry.cus_coverage.console import coverage
from telemetry.cus_run_budgets import console as budgets
from telemetry.cus_seals.console import seals
from telemetry.cus_statements import console as statements

_CLOSERS = ("operator", "finance")

_STARTERS = ("operator", "admin")
_OF_ONE = "start/<uuid:integration_id>"
_RUN_LIMITS = "run-limits/<uuid:integration_id>/"

PAGES = (
    OwnPage("cus-start", "start/", start.start, _STARTERS),
    OwnPage("cus-start-tenant", "start/customer/", start.customer, ("operator",)),
    OwnPage("cus-start-credential", f"{_OF_ONE}/credential/", start.credential, _STARTERS),
    OwnPage("cus-start-test", f"{_OF_ONE}/test/", start.test, _STARTERS),
    OwnPage("cus-start-limits", f"{_OF_ONE}/limits/", start.limits, _STARTERS),
    OwnPage("cus-start-key", f"{_OF_ONE}/key/", start.key, _STARTERS),
    OwnPage("cus-start-call", f"{_OF_ONE}/call/", start.call, _STARTERS),
    OwnPage("cus-start-provider", "start/new/<str:provider_type>/", start.provider, _STARTERS),
    OwnPage("cus-cost", "cost/", cost, EVERY_ROLE),
    OwnPage("cus-statement-now", "statement/", statements.statement_now, EVERY_ROLE),
    OwnPage("cus-statement", "statement/<month:month>/", statements.statement, EVERY_ROLE),
    OwnPage(
        "cus-statement-invoices",
        "statement/<month:month>/invoices/",
        statements.invoices,
        EVERY_ROLE,
    ),
    OwnPage(
        "cus-statement-close", "statement/<month:month>/close/", statements.close_month, _CLOSERS
    ),
    OwnPage("cus-run-limits", _RUN_LIMITS, budgets.run_limits, EVERY_ROLE),
    OwnPage("cus-run-limit", f"{_RUN_LIMITS}<uuid:limit_id>/", budgets.run_limit, EVERY_ROLE),
    OwnPage("cus-coverage", "coverage/", coverage, EVERY_ROLE),
    # Each person's own choice.
    OwnPage("cus-notifications", "notifications/", muted, EVERY_ROLE),
    # Support reads usage, decisions and health alone.
    OwnPage("cus-system", "system/", system, ("operator",)),
    # A product with a mail server keeps no mails.
    *(
        (OwnPage("cus-local-mails", "mails/", mails, ("operator",)),)
        if settings.CUS_LOCAL_MAIL_FOLDER
        else ()
    ),
    OwnPage("cus-seals", "seals/", seals, ("operator", "finance", "admin", "member")),
)


def pages_of_tenant(request: HttpRequest, tenant: CusTenant) -> SafeString:
    """Links from a tenant's page to the pages that show one tenant."""
    links = [
        Link(title, of_tenant(request, reverse(name), tenant)).html
        for name, title in (
            ("cus-statement-now", "Statement"),
            ("cus-coverage", "Coverage and gaps"),
            ("cus-seals", "Seals"),
            ("cus-start", "Connect an integration"),
        )
    ]
    return format_html(
        '<p class="cus-trail">{}</p>', format_html_join("", "{}", ((link,) for link in links))
    )
