"""Guided creation: from a provider to the first call, and from a customer to its first integration."""
