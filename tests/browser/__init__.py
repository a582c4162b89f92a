"""What people meet: the served console in a real browser."""
