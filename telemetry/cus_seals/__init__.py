"""Seals of each tenant's days of evidence, chained, so that a later change is noticed."""
