"""Prices: what a call costs, exactly."""
