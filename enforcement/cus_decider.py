"""The enforcement pool: connections that decide as a role of their own, and never wait for long.

Each has become the decider by `SET ROLE` (ruling E5), which can't read analytics. A server
that hangs obeys no `statement_timeout`, so every wait here ends by the client's own clock; a
connection that was given up on is thrown away, not used again. New connections are made on
the side: whoever asks for one waits for it no longer than for anything else.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import generators, sql

from enforcement.cus_decision_log import PREPARED as LOG_PREPARED
from enforcement.cus_key_lookup import PREPARED as KEYS_PREPARED
from telemetry.cus_holds import PREPARED as HOLDS_PREPARED
from telemetry.cus_holds import Value

# What we abandon the server ends by itself, soon: nobody waits for a lock of the dead.
_SERVER_SETTINGS = {
    "statement_timeout": "1s",
    "idle_in_transaction_session_timeout": "2s",
    "plan_cache_mode": "force_generic_plan",
    # As planned while tables were small, a look-up must still be one when they are large.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    # Over millions of rows a plan is dear enough, by its estimate, to be compiled each time
    # that it runs; which takes longer than a check may.
    "jit": "off",
    # As JSON has times.
    "TimeZone": "UTC",
}
_CONNECT_SECONDS = 2
_T = TypeVar("_T")


class DatabaseAbsent(Exception):
    """There is no connection, or the server does not answer in time."""


class PoolBusy(Exception):
    """All connections are in use by others: load, not absence."""


class DeciderConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waits all end at `ends_at`, a time of the monotonic clock.

    What is sent is text, and what comes back is the first column of each row, as text: nearly
    all of it is one JSON document a statement. A cursor that adapts types costs a check more
    than deciding does.
    """

    ends_at = float("inf")

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the server, but not for longer. Raises psycopg.OperationalError."""
        left = max(self.ends_at - time.monotonic(), 0.001)
        return super().wait(gen, interval, left if self.ends_at < float("inf") else timeout)

    def rows(self, message: str) -> list[bytes | None]:
        """Run one message, of one statement or several; the rows of the last that has any."""
        return (self.all_rows(message) or [[]])[-1]

    def all_rows(self, message: str) -> list[list[bytes | None]]:
        """The rows of each statement of a message that gives rows. Raises psycopg.Error."""
        self.pgconn.send_query(message.encode())
        results = self.wait(generators.execute(self.pgconn))
        # A message ends with the statement that fails.
        if results[-1].status == psycopg.pq.ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(results[-1])
        return [
            [result.get_value(row, 0) for row in range(result.ntuples)]
            for result in results
            if result.nfields
        ]

    def call(self, prepared: str, *values: Value) -> str:
        """The text that executes a statement which each connection of the pool has prepared."""
        return f"EXECUTE {prepared}({', '.join(map(self._literal, values))})"

    def _literal(self, value: Value) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, int):
            return str(value)
        if isinstance(value, list):
            return f"ARRAY[{', '.join(map(self._literal, value))}]" if value else "'{}'"
        if isinstance(value, bytes):
            value = f"\\x{value.hex()}"
        # Quoted by libpq itself, which knows the connection's settings.
        return psycopg.pq.Escaping(self.pgconn).escape_literal(str(value).encode()).decode()


class DeciderPool:
    """At most `size` connections of this process, made when they are needed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._idle: list[DeciderConnection] = []
        self._open = self._opening = 0
        self._failed_at = float("-inf")
        self._changed = threading.Condition()

    def run(self, work: Callable[[DeciderConnection], _T], *, take_by: float, end_by: float) -> _T:
        """What `work` gives on a connection that is ours by `take_by`, all done by `end_by`.

        Raises PoolBusy, DatabaseAbsent, or psycopg's error where the server itself refused.
        A connection that proves broken (the server was restarted) is replaced and `work` done
        again; one left within a transaction is closed, and the server undoes what was open.
        """
        while True:
            connection = self._take(take_by)
            connection.ends_at = end_by
            try:
                return work(connection)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if time.monotonic() >= end_by:
                    raise DatabaseAbsent("no answer in time") from error
                if not connection.broken and not connection.closed:
                    raise
                # What waits idle was opened as long ago.
                self.close()
            finally:
                self._put_back(connection)

    def close(self) -> None:
        """Close what is idle."""
        with self._changed:
            idle, self._idle = self._idle, []
            self._open -= len(idle)
        for connection in idle:
            connection.close()

    def _take(self, take_by: float) -> DeciderConnection:
        asked_at = time.monotonic()
        with self._changed:
            while not self._idle:
                if self._failed_at >= asked_at:
                    raise DatabaseAbsent("no connection can be made")
                self._open_more()
                left = take_by - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    if self._opening or self._failed_at >= asked_at:
                        raise DatabaseAbsent("no connection in time")
                    raise PoolBusy
            return self._idle.pop()

    def _open_more(self) -> None:
        if self._open < self._size:
            self._open += 1
            self._opening += 1
            threading.Thread(target=self._open_one, name="decider", daemon=True).start()

    def _open_one(self) -> None:
        connection = None
        # Whatever keeps us from connecting, those who wait are told that there is nothing.
        with suppress(psycopg.Error, OSError):
            connection = _connect()
        with self._changed:
            self._opening -= 1
            if connection is None:
                self._open -= 1
                self._failed_at = time.monotonic()
            else:
                self._idle.append(connection)
            self._changed.notify_all()

    def _put_back(self, connection: DeciderConnection) -> None:
        idle = psycopg.pq.TransactionStatus.IDLE
        usable = not connection.closed and connection.pgconn.transaction_status == idle
        if not usable:
            connection.close()
        with self._changed:
            if usable:
                self._idle.append(connection)
            else:
                self._open -= 1
            self._changed.notify()


def _connect() -> DeciderConnection:
    parameters = dict(connections[DEFAULT_DB_ALIAS].get_connection_params())
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    own = " ".join(f"-c {name}={value}" for name, value in _SERVER_SETTINGS.items())
    parameters |= {
        "options": f"{parameters.get('options', '')} {own}",
        "connect_timeout": _CONNECT_SECONDS,
        "application_name": "aos-enforcement",
    }
    connection = DeciderConnection.connect(**parameters, autocommit=True)
    connection.ends_at = time.monotonic() + _CONNECT_SECONDS
    role = sql.Identifier(settings.CUS_DECIDER_ROLE).as_string(connection)
    connection.rows("; ".join([f"SET ROLE {role}", *HOLDS_PREPARED, *LOG_PREPARED, *KEYS_PREPARED]))
    return connection


_pools: dict[int, DeciderPool] = {}
_making = threading.Lock()


def decider_pool() -> DeciderPool:
    """This process' pool: a fork has none of its parent's connections."""
    pool = _pools.get(os.getpid())
    if pool is None:
        with _making:
            pool = _pools.setdefault(os.getpid(), DeciderPool(settings.CUS_ENFORCEMENT_POOL_SIZE))
    return pool


def close_decider_pool() -> None:
    """Close this process' idle connections; the next check opens new ones."""
    pool = _pools.pop(os.getpid(), None)
    if pool:
        pool.close()


atexit.register(close_decider_pool)
