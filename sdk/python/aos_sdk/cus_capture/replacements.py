"""Functions of other packages' classes that ours replace, and that come back."""

from collections.abc import Callable
from types import ModuleType
from typing import Any


class CusReplacements:
    """The functions that were replaced. For one thread at a time."""

    def __init__(self) -> None:
        # Class, name, its original function, and ours.
        self._made: list[tuple[type, str, Any, Any]] = []

    def put(self, owner: type, name: str, original: Any, replacement: Any) -> None:
        """Replace a function of a class."""
        setattr(owner, name, replacement)
        self._made.append((owner, name, original, replacement))

    def wrap(
        self, module: ModuleType, kind: str, name: str, wrapped: Callable[[Any], Callable[..., Any]]
    ) -> None:
        """Replace a function of a module's class by what `wrapped` makes of it.

        Does nothing if the module has another shape than we know.
        """
        owner = getattr(module, kind, None)
        original = getattr(owner, "__dict__", {}).get(name)
        if isinstance(owner, type) and callable(original):
            self.put(owner, name, original, wrapped(original))

    def restore(self) -> None:
        """Put the originals back.

        If another package has wrapped ours since, ours stays, and only passes on.
        """
        for owner, name, original, replacement in reversed(self._made):
            if owner.__dict__.get(name) is replacement:
                setattr(owner, name, original)
        self._made.clear()
