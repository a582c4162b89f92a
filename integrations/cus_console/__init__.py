"""What the console's pages on authority have in common."""
