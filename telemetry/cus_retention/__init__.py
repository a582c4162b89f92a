"""Retention: old months of usage rows, which the owner drops (ruling E5)."""
