"""Receive bodies: each within its deadline, and all together within a bounded memory."""

import asyncio
import time
from dataclasses import dataclass

from aos_project.cus_web.answers import BODY_TOO_SLOW, BODY_TORN, Refused
from aos_project.cus_web.scopes import Answering

# The cost of a body beside its bytes: the socket's buffers, and the waiting task.
_OVERHEAD_BYTES = 16 * 1024


@dataclass(eq=False)
class _Coming:
    task: "asyncio.Task[object]"
    deadline: float
    room: int
    ended: bool = False


class Bodies:
    """Receives bodies, in the event loop alone.

    If there is no room for another body, the oldest unfinished body is ended. An honest body
    arrives within moments, so old unfinished bodies are those that trickle in.
    """

    def __init__(self, seconds: float, room_bytes: int) -> None:
        self._seconds = seconds
        self._free = room_bytes
        # The oldest first, so also by deadline: all bodies have the same time.
        self._coming: dict[_Coming, None] = {}

    async def receive(self, protocol: Answering, length: int) -> bytes:
        """The body, of `length` bytes. Raises Refused if it was ended, or its sender left."""
        task = asyncio.current_task()
        assert task
        room = length + _OVERHEAD_BYTES
        coming = _Coming(task, time.monotonic() + self._seconds, room)
        self._make(room)
        self._coming[coming] = None
        self._free -= room
        try:
            return await protocol()
        except RuntimeError:  # granian's ProtocolClosed and ProtocolError
            raise Refused(BODY_TORN) from None
        except asyncio.CancelledError:
            if coming.ended:
                raise Refused(BODY_TOO_SLOW) from None
            raise
        finally:
            self._forget(coming)

    def end_late(self, now: float) -> None:
        """End the bodies whose deadline is over."""
        while self._coming:
            oldest = next(iter(self._coming))
            if oldest.deadline > now:
                return
            self._end(oldest)

    def _make(self, room: int) -> None:
        while self._coming and self._free < room:
            self._end(next(iter(self._coming)))

    def _end(self, coming: _Coming) -> None:
        coming.ended = True
        coming.task.cancel()
        self._forget(coming)

    def _forget(self, coming: _Coming) -> None:
        if coming in self._coming:
            del self._coming[coming]
            self._free += coming.room
