"""Imports the console's pages on authority, because Django looks for them here."""

from importlib import import_module

# Importing a module registers its pages.
for _pages in (
    "cus_access.tokens",
    "cus_console.audit_trail",
    "cus_currency.admin",
    "cus_health.admin",
    "cus_increases.admin",
    "cus_integrations.admin",
    "cus_keys.admin",
    "cus_limits.admin",
    "cus_notifications.admin",
    "cus_prices.admin",
    "cus_stops.admin",
    "cus_tenancy.member_admin",
    "cus_tenancy.person_admin",
    "cus_tenancy.tenant_admin",
):
    import_module(f"integrations.{_pages}")
