"""Increases on request: a person asks for more for a time, and another person decides."""
