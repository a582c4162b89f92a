"""Call a function when the program imports a package, without importing anything."""

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

OnImport = Callable[[ModuleType], object]


class CusImportHook:
    """Calls `then` with each of the named top-level packages once it has been imported.

    For packages that are imported already, at once. `remove` ends this; what `then` did stays.
    """

    def __init__(self, names: Iterable[str], then: OnImport) -> None:
        self._waiting = set(names)
        self._then = then

    def install(self) -> None:
        """Call `then` for imported packages, and wait for the others."""
        for name in sorted(self._waiting):
            module = sys.modules.get(name)
            # Leave a half imported package to the hook that saw the import begin.
            if module is not None and not _is_being_imported(module):
                self._waiting.discard(name)
                self._then(module)
        if self._waiting and self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Stop waiting for imports."""
        self._waiting.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the other finders with our loader; the import system calls this."""
        if name not in self._waiting:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if finder is not self and find else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self._loaded)
                return spec  # type: ignore[no-any-return]  # as a finder said it
        return None

    def _loaded(self, module: ModuleType) -> None:
        if module.__name__ in self._waiting:
            self._waiting.discard(module.__name__)
            self._then(module)


class _Loader:
    """Wraps a package's own loader, and leaves no trace in the package."""

    def __init__(self, loader: Any, loaded: OnImport) -> None:
        self._loader = loader
        self._loaded = loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._loaded(module)


def _is_being_imported(module: ModuleType) -> bool:
    return bool(getattr(module.__spec__, "_initializing", False))
