"""When this process last got an answer from the database, asked for twice a second (ruling F6a).

A check that gets no answer can't tell a database that hangs from one that is busy with that very
check. The heartbeat can: nobody's load delays its question, which has a connection of its own.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import psycopg

from enforcement.cus_absence import DatabaseTrouble

_EVERY_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
# For a process that ends while the database hangs.
_STOP_SECONDS = 2.0


class Pinged(Protocol):
    """A connection that can be asked whether the server is there."""

    def ping(self, ends_at: float) -> None:
        """Wait for any answer until then. Raises psycopg.Error."""

    def close(self) -> None:
        """Give it up."""


class Heartbeat:
    """Keeps asking, from the first `start` on, in a thread of its own."""

    def __init__(self, connect: Callable[[], Pinged]) -> None:
        """`connect` makes the connection. Raises DatabaseTrouble."""
        self._connect = connect
        self._answered_at = float("-inf")
        self._listening: threading.Thread | None = None
        self._starting = threading.Lock()
        self._ending = threading.Event()

    def start(self) -> None:
        """Ask from now on. A fork has no thread of its parent's, so it is started again there."""
        if self._listening is not None and self._listening.is_alive():
            return
        with self._starting:
            if self._listening is not None and self._listening.is_alive():
                return
            # Nobody can say that it was silent before anybody listened.
            self.answered()
            self._ending = threading.Event()
            self._listening = threading.Thread(
                target=self._beat, args=(self._ending,), name="heartbeat", daemon=True
            )
            self._listening.start()

    def stop(self) -> None:
        """Ask no more until the next `start`, and leave no connection."""
        with self._starting:
            self._ending.set()
            if self._listening is not None and self._listening.is_alive():
                self._listening.join(_STOP_SECONDS)
            self._listening = None

    def answered(self) -> None:
        """The database has answered something, on whatever connection."""
        self._answered_at = time.monotonic()

    def silent_seconds(self) -> float:
        """For how long there has been no answer."""
        return time.monotonic() - self._answered_at

    def _beat(self, ending: threading.Event) -> None:
        connection: Pinged | None = None
        while not ending.is_set():
            try:
                connection = connection or self._connect()
                connection.ping(time.monotonic() + _ANSWER_SECONDS)
                self.answered()
            except (psycopg.Error, OSError, DatabaseTrouble):
                _close(connection)
                connection = None
            ending.wait(_EVERY_SECONDS)
        _close(connection)


def _close(connection: Pinged | None) -> None:
    if connection is not None:
        with suppress(psycopg.Error, OSError):
            connection.close()
