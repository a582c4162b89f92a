"""Accounts: signing in and proofs; sessions, tokens, second factors, roles."""
