"""When this process last got an answer from the database; asks twice a second (ruling F6a).

A check without an answer can't tell a database that hangs from a database that is busy with that
check. The heartbeat can, because it has a connection of its own that no check's load delays.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import psycopg

from enforcement.cus_reading.absence import DatabaseTrouble

_EVERY_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
# A process that ends waits so long for the thread while the database hangs.
_STOP_SECONDS = 2.0


class Pinged(Protocol):
    """A connection that can be asked whether the server is there."""

    def ping(self, ends_at: float) -> None:
        """Wait for any answer until `ends_at`. Raises psycopg.Error."""

    def close(self) -> None:
        """Close the connection."""


class Heartbeat:
    """Pings the database from the first `start` on, in a thread of its own."""

    def __init__(self, connect: Callable[[], Pinged]) -> None:
        """`connect` makes the connection. Raises DatabaseTrouble."""
        self._connect = connect
        self._answered_at = float("-inf")
        self._listening: threading.Thread | None = None
        self._starting = threading.Lock()
        self._ending = threading.Event()

    def start(self) -> None:
        """Start pinging. A fork must call this again: it does not inherit the thread."""
        if self._listening is not None and self._listening.is_alive():
            return
        with self._starting:
            if self._listening is not None and self._listening.is_alive():
                return
            # Silence counts from now: before the thread ran, no ping could have been answered.
            self.answered()
            self._ending = threading.Event()
            self._listening = threading.Thread(
                target=self._beat, args=(self._ending,), name="heartbeat", daemon=True
            )
            self._listening.start()

    def stop(self) -> None:
        """Stop pinging until the next `start`, and close the connection."""
        with self._starting:
            self._ending.set()
            if self._listening is not None and self._listening.is_alive():
                self._listening.join(_STOP_SECONDS)
            self._listening = None

    def answered(self) -> None:
        """Note that the database has answered, on any connection."""
        self._answered_at = time.monotonic()

    def silent_seconds(self) -> float:
        """Seconds since the last answer of the database."""
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
