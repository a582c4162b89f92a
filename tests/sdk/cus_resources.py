"""Walks the resources of a provider's package, and calls each of their methods."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final, NamedTuple, get_overloads

# What an argument of this name is where a text does not do.
_VALUES: Final[dict[str, Any]] = {
    **dict.fromkeys(("archive", "audio_sample", "data", "file", "image", "recording"), b"x"),
    "files": [b"x"],
    "max_tokens": 1,
    "video": b"x",
}
# The arguments of methods whose first overload is not the one of interest, or that look at them.
_ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    "responses.responses.Responses.stream": {"input": "x", "model": "x"},
    "beta.agents.environments.files.Files.upload": {
        "environment_id": "x",
        "file": b"x",
        "path": "/workspace/x",
    },
}


class Method(NamedTuple):
    """A public method of a resource."""

    owner: type
    name: str

    def __str__(self) -> str:
        module = self.owner.__module__.partition(".resources.")[2]
        return f"{module}.{self.owner.__name__}.{self.name}"

    def call(self, client: Any, view: str = "") -> Any:
        """Call it with whatever it requires, as it is or by a view of its resource."""
        resource = self.owner(client)
        function = getattr(getattr(resource, view) if view else resource, self.name)
        return function(**(_ARGUMENTS.get(str(self).replace("Async", "")) or self._required()))

    def _required(self) -> dict[str, Any]:
        function = self.owner.__dict__[self.name]
        # A method that takes one of several sets of arguments has them in its overloads.
        plain = inspect.unwrap(function)
        signature = inspect.signature(next(iter(get_overloads(plain)), function))
        wanted = list(signature.parameters.values())[1:]
        return {
            one.name: _VALUES.get(one.name, "x")
            for one in wanted
            if one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        }


def methods_of(package: ModuleType, base: str) -> Iterator[Method]:
    """The public methods of all resources that derive from this base of the package."""
    base_class = getattr(importlib.import_module(f"{package.__name__}._resource"), base)
    for owner in _classes_of(package):
        if issubclass(owner, base_class):
            yield from methods_in(owner)


def methods_in(owner: type) -> Iterator[Method]:
    """The public methods of one resource."""
    for name, function in list(vars(owner).items()):
        if not name.startswith("_") and inspect.isfunction(function):
            yield Method(owner, name)


def connections_of(package: ModuleType) -> Iterator[type]:
    """The classes of the package's connections over a WebSocket."""
    for owner in _classes_of(package):
        if "parse_event" in vars(owner):
            yield owner


def _classes_of(package: ModuleType) -> Iterator[type]:
    resources = importlib.import_module(f"{package.__name__}.resources")
    for found in pkgutil.walk_packages(resources.__path__, f"{resources.__name__}."):
        module = importlib.import_module(found.name)
        for owner in list(vars(module).values()):
            if inspect.isclass(owner) and owner.__module__ == module.__name__:
                yield owner
