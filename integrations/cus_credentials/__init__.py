"""Provider credentials: sealed, stored, rotated, sent to where they were entered for."""
