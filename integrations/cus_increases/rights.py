"""Who may ask for increases, and who decides (ruling C9)."""

from typing import Final

ASKERS: Final = ("operator", "admin", "member")
DECIDERS: Final = ("operator", "admin")
