"""An integration's row, and how its status moves."""
