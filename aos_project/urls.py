"""All routes: console, API, and probes."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from aos_project.cus_console.find import find
from aos_project.cus_console.pages import PAGES
from aos_project.cus_probes import healthz, metrics, readyz
from aos_project.cus_schema_views import DocsView, SchemaView
from enforcement.cus_what_if.page import simulated, what_if
from integrations.cus_access.sessions import end_other_sessions, end_session, sessions_and_tokens
from integrations.cus_accounts.proof_pages import proof_first, prove
from integrations.cus_accounts.second_factor_views import (
    renew_recovery_codes,
    second_factor,
    set_up,
)
from integrations.cus_tenancy.password_views import CusPasswordChangeView

admin.autodiscover()

# Replaces the admin site's page at this address, to ask for a proof first.
_change_password = proof_first(
    admin.site.admin_view(CusPasswordChangeView.as_view(), cacheable=True)
)

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/second-factor/", second_factor, name="cus-second-factor"),
    path("admin/second-factor/setup/", set_up, name="cus-second-factor-setup"),
    path("admin/second-factor/codes/", renew_recovery_codes, name="cus-recovery-codes"),
    path("admin/prove/", prove, name="cus-prove"),
    path("admin/sessions/", sessions_and_tokens, name="cus-sessions"),
    path("admin/sessions/end-others/", end_other_sessions, name="cus-sessions-end-others"),
    path("admin/sessions/<uuid:session_id>/end/", end_session, name="cus-session-end"),
    path("admin/password_change/", _change_password, name="cus-password-change"),
    path("admin/password_reset/", include("integrations.cus_tenancy.password_urls")),
    path("admin/find/", admin.site.admin_view(find), name="cus-find"),
    path(
        "admin/what-if/<uuid:integration_id>/",
        admin.site.admin_view(what_if),
        name="cus-what-if",
    ),
    path(
        "admin/what-if/<uuid:integration_id>/<uuid:simulation_id>/",
        admin.site.admin_view(simulated),
        name="cus-simulation",
    ),
    *(page.url for page in PAGES),
    path("admin/", admin.site.urls),
    path("console/", include("aos_project.cus_console.links")),
    path("api/v1/cus/", include("integrations.urls")),
    path("api/v1/cus/integrations/", include("telemetry.cus_integration_urls")),
    path("api/v1/cus/telemetry/", include("telemetry.urls")),
    path("api/v1/cus/enforcement/", include("enforcement.urls")),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/docs", DocsView.as_view(url_name="schema"), name="docs"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]

handler400 = "aos_project.cus_error_pages.bad_request"
handler403 = "aos_project.cus_error_pages.forbidden"
handler404 = "aos_project.cus_error_pages.not_found"
handler500 = "aos_project.cus_error_pages.server_error"
