"""Budgets in code, for people: who may list them, and raise them."""
