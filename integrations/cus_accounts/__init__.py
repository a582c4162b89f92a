"""Accounts: how people sign in and prove themselves; sessions, tokens, second factors, roles."""
