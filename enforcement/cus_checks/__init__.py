"""Checks: from a program's request to its answer."""
