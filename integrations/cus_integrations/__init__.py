"""Integrations of a tenant: made, changed, closed, imported."""
