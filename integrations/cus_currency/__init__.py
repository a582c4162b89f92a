"""The currency in which a tenant's people see amounts beside US dollars."""
