"""WebSocket connections of OpenAI's package over a socket that gives a script."""

import asyncio
import importlib
import json
import sys
from collections.abc import Iterable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class ConnectionClosedOK(Exception):
    """What that package raises at the end of a connection."""


class Socket:
    """What the package talks through: gives these events, and tells whom it is connected to."""

    def __init__(self, events: Iterable[Any], host: str = "api.openai.com:443") -> None:
        self._messages = iter([json.dumps(event).encode() for event in events])
        self.request = SimpleNamespace(headers={"Host": host})

    def _next(self) -> bytes:
        message = next(self._messages, None)
        if message is None:
            raise ConnectionClosedOK
        return message

    def recv(self, decode: bool | None = None) -> bytes:
        return self._next()

    def close(self, *, code: int = 1000, reason: str = "") -> None:
        """Nothing is open."""


class AsyncSocket(Socket):
    async def recv(self, decode: bool | None = None) -> bytes:  # type: ignore[override]
        return self._next()

    async def close(self, *, code: int = 1000, reason: str = "") -> None:  # type: ignore[override]
        """Nothing is open."""


def opened(kind: Any, events: Iterable[Any], **options: Any) -> Any:
    """A connection of this class, which receives these events."""
    socket = AsyncSocket if kind.__name__.startswith("Async") else Socket
    return kind(socket(events, **options))


def heard(
    kind: Any, events: Iterable[Any], method: str = "recv", *, more: int = 0, **options: Any
) -> list[Any]:
    """What a program receives by a connection, event by event; `more` events than there are."""
    events = list(events)
    count = len(events) + more
    connection = opened(kind, events, **options)
    receive = getattr(connection, method)
    if not kind.__name__.startswith("Async"):
        return [receive() for _ in range(count)]

    async def all_of_them() -> list[Any]:
        return [await receive() for _ in range(count)]

    return asyncio.run(all_of_them())


def connections(*names: tuple[str, str]) -> dict[str, Any]:
    """The classes that the installed release has, of those in these modules, and their twins."""
    found: dict[str, Any] = {}
    for module_name, name in names:
        try:
            module = importlib.import_module(f"openai.resources.{module_name}")
        except ModuleNotFoundError:
            continue
        for kind in (name, f"Async{name}"):
            if hasattr(module, kind):
                found[f"{module_name}.{kind}"] = getattr(module, kind)
    return found


def _stand_in() -> ModuleType:
    module = ModuleType("openai.lib._websocket")
    module._recv_bytes = lambda socket: socket.recv(decode=False)  # type: ignore[attr-defined]
    return module


@pytest.fixture
def without_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its part of the newest packages' `recv`, where the `websockets` package is not installed."""
    try:
        importlib.import_module("openai.lib._websocket")
    except ModuleNotFoundError:
        monkeypatch.setitem(sys.modules, "openai.lib._websocket", _stand_in())
