"""Holds and leases for running calls, and an integration's use of its limits."""
