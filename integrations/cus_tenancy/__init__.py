"""Tenants and their people: members, invitations, staff."""
