"""The door through which Django finds the console's pages on authority."""

from django.contrib import admin

from integrations import (  # noqa: F401  (registers the pages)
    cus_audit_admin,
    cus_health_admin,
    cus_integration_admin,
    cus_key_admin,
    cus_member_admin,
    cus_people_admin,
    cus_price_override_admin,
    cus_tenant_admin,
    cus_token_admin,
)

_OURS = frozenset({"integrations", "telemetry", "enforcement"})

# Pages that packages bring know no tenants, and would only pretend to grant something (ruling
# C9): groups, second factors, jobs.
for _model in [model for model in admin.site._registry if model._meta.app_label not in _OURS]:  # noqa: SLF001  (no public way)
    admin.site.unregister(_model)
# Each page has buttons of its own: none acts on many rows at once.
admin.site.disable_action("delete_selected")
