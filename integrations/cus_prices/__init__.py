"""A tenant's own prices."""
