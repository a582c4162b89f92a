"""Providers: how each is configured and probed, and the guard of every request to one."""
