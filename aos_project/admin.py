"""The console as a whole. Django loads this app last, so all pages are registered by now."""

from django.contrib import admin

from aos_project.cus_console.home import late_jobs
from aos_project.cus_console.pages import pages_of_tenant
from aos_project.cus_console.start.panels import set_up_list
from integrations.cus_console import attention, panels
from integrations.cus_console.panels import Page, Panel

_OURS = frozenset({"integrations", "telemetry", "enforcement"})

# The pages of packages (groups, second factors, jobs) know no tenants, and their permissions would
# have no effect (ruling C9).
for _model in [model for model in admin.site._registry if model._meta.app_label not in _OURS]:  # noqa: SLF001  (no public way)
    admin.site.unregister(_model)
# No action on many rows at once: each page has buttons of its own, for one row.
admin.site.disable_action("delete_selected")
panels.register(Panel(Page.TENANT, "more", "More of the tenant", ("operator",), pages_of_tenant))
panels.register(Panel(Page.HOME, "start", "Set up", ("admin",), set_up_list, is_first=True))
attention.register(late_jobs)
