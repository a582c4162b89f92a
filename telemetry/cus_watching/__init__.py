"""Watches what is taken of limits, so that people are told."""
