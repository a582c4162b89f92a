"""The base of the authority plane's HTTP API: errors, JSON, pages, strict fields; no tenants."""
