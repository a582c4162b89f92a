"""An integration's row, and the transitions of its status."""
