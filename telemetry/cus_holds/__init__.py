"""Holds and leases: what calls in flight may still cost; limits beside what is used."""
