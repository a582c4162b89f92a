"""The console's own pages, and the roles that each is for (ruling C9)."""

from aos_project.cus_console.own_pages import OwnPage
from integrations.cus_console.pages import EVERY_ROLE
from telemetry.cus_coverage.console import coverage
from telemetry.cus_seals.console import seals
from telemetry.cus_statements import console as statements

_CLOSERS = ("operator", "finance")

PAGES = (
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
    OwnPage("cus-coverage", "coverage/", coverage, EVERY_ROLE),
    # Support reads usage, decisions and health alone.
    OwnPage("cus-seals", "seals/", seals, ("operator", "finance", "admin", "member")),
)
