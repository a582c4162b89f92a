"""The console as a whole. This app is the last that Django loads: all pages are registered by now."""

from django.contrib import admin

_OURS = frozenset({"integrations", "telemetry", "enforcement"})

# Pages that packages bring know no tenants, and would only pretend to grant something (ruling
# C9): groups, second factors, jobs.
for _model in [model for model in admin.site._registry if model._meta.app_label not in _OURS]:  # noqa: SLF001  (no public way)
    admin.site.unregister(_model)
# Each page has buttons of its own: none acts on many rows at once.
admin.site.disable_action("delete_selected")
