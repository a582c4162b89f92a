"""The door through which Django finds the console's pages on authority."""

from importlib import import_module

from django.contrib import admin

# Importing a module registers its pages.
for _pages in (
    "cus_access.tokens",
    "cus_console.audit_trail",
    "cus_health.admin",
    "cus_integrations.admin",
    "cus_keys.admin",
    "cus_prices.admin",
    "cus_tenancy.member_admin",
    "cus_tenancy.person_admin",
    "cus_tenancy.tenant_admin",
):
    import_module(f"integrations.{_pages}")

_OURS = frozenset({"integrations", "telemetry", "enforcement"})

# Pages that packages bring know no tenants, and would only pretend to grant something (ruling
# C9): groups, second factors, jobs.
for _model in [model for model in admin.site._registry if model._meta.app_label not in _OURS]:  # noqa: SLF001  (no public way)
    admin.site.unregister(_model)
# Each page has buttons of its own: none acts on many rows at once.
admin.site.disable_action("delete_selected")
