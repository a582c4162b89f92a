"""Evidence: what was reported, stored once and never changed."""
