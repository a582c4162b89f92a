"""Delivery: which reports arrived, in which order, and which are missing."""
