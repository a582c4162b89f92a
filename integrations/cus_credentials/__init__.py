"""Provider credentials: sealed, stored, rotated, and sent only to the recorded origin."""
