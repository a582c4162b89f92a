"""Make, change, close and import the integrations of a tenant."""
