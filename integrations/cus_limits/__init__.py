"""Limits at scopes and windows of their own: an agent, a session, a person, a day."""
