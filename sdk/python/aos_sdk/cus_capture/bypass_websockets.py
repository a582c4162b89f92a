"""Watch WebSockets as they are opened, by the `websockets` package that the provider packages use.

The calls of a session are counted by its events, where a patched package receives them. A session
that no patched package opened counts as one bypassed call: how many calls it has, nothing tells.
"""

import functools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

MODULE: Final = "websockets.client"
CLASS: Final = "ClientProtocol"
METHOD: Final = "connect"
_ROOT: Final = MODULE.partition(".")[0]

# The packages whose connections are looked on at; patches add and remove their own.
looked_on_at: Final[set[str]] = set()


def watched(original: Callable[..., Any], see: Callable[[str], None]) -> Callable[..., Any]:
    """The method that makes a handshake's request; `see` gets the host, where nothing looks on."""

    @functools.wraps(original)
    def connect(*args: Any, **kwargs: Any) -> Any:
        request = original(*args, **kwargs)
        if not _is_looked_on_at():
            see(_host_of(request))
        return request

    return connect


def _is_looked_on_at() -> bool:
    """Whether a patched package opens the connection: whose code called the `websockets` package."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001  (there is no public way)
    while frame is not None and _root_of(frame) in (_ROOT, "aos_sdk"):
        frame = frame.f_back
    return frame is not None and _root_of(frame) in looked_on_at


def _root_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _host_of(request: Any) -> str:
    """The host of a handshake, without its port."""
    host = str(request.headers["Host"]).lower()
    return host if host.endswith("]") else host.rsplit(":", 1)[0]
