"""For tests of the web server's threads, without a server: requests' scopes, and running it."""

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any, TypeVar

T = TypeVar("T")
HOST = ("host", "127.0.0.1")
# Takes answers, and drops them.
PROTOCOL: Any = SimpleNamespace(response_bytes=lambda *_answer: None)


def scope_of(
    path: str,
    *headers: tuple[str, str],
    method: str = "GET",
    peer: str = "192.0.2.1",
    query: str = "",
) -> Any:
    """A request as granian hands it over."""
    return SimpleNamespace(
        method=method,
        path=path,
        scheme="http",
        query_string=query,
        http_version="1.1",
        client=f"{peer}:4711",
        server="127.0.0.1:8000",
        headers=SimpleNamespace(items=lambda: list(headers)),
    )


def run_web(scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a scenario; the web that it starts sets how threads take turns in the process."""
    before = sys.getswitchinterval()
    try:
        return asyncio.run(scenario())
    finally:
        sys.setswitchinterval(before)


def kind_of_this_thread() -> str:
    """The kind of requests that the web's present thread answers."""
    return threading.current_thread().name.rpartition("-")[0]


def within(root: object) -> Iterator[object]:
    """All that an object refers to, at any depth, but for classes and modules."""
    waiting, seen = [root], {id(root)}
    while waiting:
        one = waiting.pop()
        yield one
        for inner in gc.get_referents(one):
            if id(inner) not in seen and not isinstance(inner, type | type(sys)):
                seen.add(id(inner))
                waiting.append(inner)
