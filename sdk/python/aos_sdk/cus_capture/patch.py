"""Replace methods of the providers' classes by governed methods, and restore the originals.

Imports nothing: a module that is not imported yet is patched when the program imports it.
"""

import functools
import inspect
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

from aos_sdk.cus_capture.answers import run
from aos_sdk.cus_capture.batches import CusBatchLookup
from aos_sdk.cus_capture.bypass_websockets import looked_on_at
from aos_sdk.cus_capture.frames import passed_over_by_warnings
from aos_sdk.cus_capture.import_hook import CusImportHook
from aos_sdk.cus_capture.kinds import KINDS
from aos_sdk.cus_capture.late_answers import CusLookup, CusSessionCall
from aos_sdk.cus_capture.posts import (
    CLIENT_CLASSES,
    CLIENTS_MODULE,
    REQUEST,
    CusClientRequest,
    CusPost,
    governing_requests,
    prepare_post,
)
from aos_sdk.cus_capture.provider_versions import is_supported
from aos_sdk.cus_capture.realtime import LOOKS
from aos_sdk.cus_capture.replacements import CusReplacements
from aos_sdk.cus_capture.surfaces import CusProviderCall, prepare_call
from aos_sdk.cus_configuration import CusConfiguration, active
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_providers.provider import CusPackage, CusRole, CusSurface, CusTarget
from aos_sdk.cus_providers.registry import PACKAGES
from aos_sdk.cus_scope import current_call

logger = logging.getLogger("aos_sdk")

Function = Callable[..., Any]

# Requests that name by an argument what they are about. A tuple, made once, because a union made for
# each call would ask for memory.
_ABOUT_SOMETHING: Final = (CusLookup, CusSessionCall)


class CusPatch:
    """The patch of one provider's package. `install` and `remove` can be called in any order."""

    def __init__(self, package: CusPackage) -> None:
        self._package = package.name
        self._targets: dict[str, list[CusTarget]] = {}
        for target in package.targets:
            self._targets.setdefault(target.module, []).append(target)
        self._clients = f"{package.name}.{CLIENTS_MODULE}"
        self._hook: CusImportHook | None = None
        self._replaced = CusReplacements()
        self._governed: dict[Function, Function] = {}
        self.restart_in_child()
        self._has_warned = False
        self.faults = 0
        self._guard = never_raise(count=self._count_fault)
        self.is_installed = False

    def restart_in_child(self) -> None:
        """Make a new lock after a fork: a thread of the parent may have held the old lock."""
        self._lock = threading.RLock()

    def _count_fault(self) -> None:
        self.faults += 1

    def install(self) -> None:
        """Patch imported modules now, others when they are imported. Repeating has no effect."""
        with self._lock:
            if self._hook is not None:
                return
            self.is_installed = True
            looked_on_at.add(self._package)
            modules = (*self._targets, self._clients)
            self._hook = CusImportHook(modules, self._patch_module)
            self._hook.install()

    def remove(self) -> None:
        """Restore the original functions, except where other code has replaced ours since."""
        with self._lock:
            self.is_installed = False
            looked_on_at.discard(self._package)
            if self._hook is not None:
                self._hook.remove()
                self._hook = None
            self._replaced.restore()
            self._governed.clear()

    def _patch_module(self, module: ModuleType) -> None:
        with self._lock, self._guard:
            if not self.is_installed or not self._is_supported():
                return
            if module.__name__ == self._clients:
                self._patch_clients(module)
            else:
                for target in self._targets[module.__name__]:
                    for prefix in ("", "Async"):
                        owner = vars(module).get(prefix + target.class_name)
                        # Packages re-export the classes of their modules: each is patched once.
                        if owner is not None and owner.__module__ == module.__name__:
                            self._patch_class(owner, target)

    def _patch_clients(self, module: ModuleType) -> None:
        for class_name in CLIENT_CLASSES:
            owner = vars(module).get(class_name)
            original = getattr(owner, "__dict__", {}).get(REQUEST)
            if isinstance(owner, type) and inspect.isfunction(original):
                governed = governing_requests(original, self._prepare_post)
                self._replaced.put(owner, REQUEST, original, governed)

    def _is_supported(self) -> bool:
        version = getattr(sys.modules.get(f"{self._package}._version"), "__version__", "")
        if is_supported(self._package, version):
            return True
        looked_on_at.discard(self._package)
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%s %s is not known to this version of the SDK; its calls are not captured",
                self._package,
                version or "without a version",
            )
        return False

    def _patch_class(self, owner: type, target: CusTarget) -> None:
        for name in target.methods:
            original = owner.__dict__.get(name)
            if inspect.isfunction(original):
                self._replaced.put(owner, name, original, self._governing(original, target.surface))
        lookup = owner.__dict__.get("retrieve")
        if target.surface.role is CusRole.BATCH_RESULTS and inspect.isfunction(lookup):
            self._replaced.put(owner, "retrieve", lookup, _noting_batch(lookup))

    def _governing(self, original: Function, surface: CusSurface) -> Function:
        """The governed function of an original function, shared by all classes that hold it."""
        if original in self._governed.values():
            return original
        if original not in self._governed:
            self._governed[original] = self._make(original, surface)
        return self._governed[original]

    def _make(self, original: Function, surface: CusSurface) -> Function:
        if surface.role is CusRole.EVENTS:
            return self._seeing(original)
        kind = KINDS[surface.role]
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            @passed_over_by_warnings
            async def governed_later(*args: Any, **kwargs: Any) -> Any:
                call = self._prepare(surface, kind, args, kwargs)
                if call is None:
                    return await original(*args, **kwargs)
                return await run(call, original, args, call.arguments)

            return governed_later

        @functools.wraps(original)
        @passed_over_by_warnings
        def governed(*args: Any, **kwargs: Any) -> Any:
            call = self._prepare(surface, kind, args, kwargs)
            if call is None:
                return original(*args, **kwargs)
            return run(call, original, args, call.arguments)

        return governed

    def _seeing(self, original: Function) -> Function:
        """A method of a WebSocket's connection, looked on at."""
        look = LOOKS[original.__name__]
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            @passed_over_by_warnings
            async def seeing_later(*args: Any, **kwargs: Any) -> Any:
                try:
                    returned = await original(*args, **kwargs)
                except BaseException as error:
                    self._look(look, args, error)
                    raise
                self._look(look, args, returned)
                return returned

            return seeing_later

        @functools.wraps(original)
        @passed_over_by_warnings
        def seeing(*args: Any, **kwargs: Any) -> Any:
            try:
                returned = original(*args, **kwargs)
            except BaseException as error:
                self._look(look, args, error)
                raise
            self._look(look, args, returned)
            return returned

        return seeing

    def _look(
        self, look: Callable[[Any, Any, CusConfiguration], None], args: tuple[Any, ...], seen: Any
    ) -> None:
        if self.is_installed and args:
            with self._guard:
                configuration = active.configuration or active.get()
                if configuration.auto_report:
                    look(args[0], seen, configuration)

    def _prepare(
        self,
        surface: CusSurface,
        kind: type[CusProviderCall],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> CusProviderCall | None:
        """The call to make, or None if the call is to pass unmeasured."""
        if not self.is_installed or not args:
            return None
        try:
            configuration = active.configuration or active.get()
            if not configuration.auto_report:
                return None
            client = getattr(args[0], "_client", None)
            reporter = configuration.reporter
            call = prepare_call(surface, client, kwargs, configuration, reporter, kind=kind)
            if isinstance(call, _ABOUT_SOMETHING):
                call.asked_for = _named_first(args, kwargs)
            return call
        except Exception as error:  # noqa: BLE001 - as the guard does
            self._guard.swallow(error)
            return None

    def _prepare_post(self, request: CusClientRequest) -> CusPost | None:
        """The call that a client's `request` makes, or None if it is to pass unmeasured."""
        if not self.is_installed:
            return None
        try:
            configuration = active.configuration or active.get()
            if not configuration.auto_report:
                return None
            return prepare_post(request, configuration)
        except Exception as error:  # noqa: BLE001 - as the guard does
            self._guard.swallow(error)
            return None


def _named_first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The id of what a method is about, its first argument."""
    return str(args[1] if len(args) > 1 else kwargs.get("file_id") or kwargs.get("session_id", ""))


def _noting_batch(lookup: Function) -> Function:
    """Wrap the look-up of a batch, which precedes reading its results, to note the batch."""
    if inspect.iscoroutinefunction(lookup):

        @functools.wraps(lookup)
        async def noting_later(*args: Any, **kwargs: Any) -> Any:
            batch = await lookup(*args, **kwargs)
            _note(batch)
            return batch

        return noting_later

    @functools.wraps(lookup)
    def noting(*args: Any, **kwargs: Any) -> Any:
        batch = lookup(*args, **kwargs)
        _note(batch)
        return batch

    return noting


def _note(batch: Any) -> None:
    call = current_call()
    if isinstance(call, CusBatchLookup):
        call.batch = batch


PATCHES: Final = {name: CusPatch(package) for name, package in PACKAGES.items()}

if hasattr(os, "register_at_fork"):
    for _patch in PATCHES.values():
        os.register_at_fork(after_in_child=_patch.restart_in_child)
