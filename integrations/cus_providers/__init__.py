"""Providers: their configuration, their probes, and the guard of every request to them."""
