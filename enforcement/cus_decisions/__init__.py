"""Decisions that were taken, kept as evidence."""
