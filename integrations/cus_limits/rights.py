"""Who may ask for increases of limits, and who changes limits and decides (ruling C9)."""

from typing import Final

ASKERS: Final = ("operator", "admin", "member")
DECIDERS: Final = ("operator", "admin")
