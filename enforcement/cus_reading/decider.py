"""The enforcement pool: connections for checks, under the decider's role, with bounded waits.

Each connection has become the decider by `SET ROLE` (ruling E5); that role can't read analytics.
A server that hangs obeys no `statement_timeout`, so every wait here ends by the client's own
clock, and the pool closes a connection whose wait ended that way. A thread of its own makes each
new connection, so a check waits for a new connection no longer than for anything else. When an
attempt to connect ends, all checks that wait for the attempt learn its cause at once; psycopg's
own pool does not report the cause (decision 35).
"""

import atexit
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import psycopg
from django.conf import settings

from enforcement.cus_reading.absence import DatabaseBusy, DatabaseTrouble
from enforcement.cus_reading.connection import (
    DeciderConnection,
    connect_decider,
    heartbeat,
    no_answer,
    trouble_with,
)

_T = TypeVar("_T")


class DeciderPool:
    """At most `size` connections of this process, opened when checks need them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._idle: list[DeciderConnection] = []
        self._open = 0
        self._failure: DatabaseTrouble = DatabaseBusy("no connection was tried yet")
        self._failed_at = float("-inf")
        self._changed = threading.Condition()

    def run(self, work: Callable[[DeciderConnection], _T], *, take_by: float, end_by: float) -> _T:
        """Run `work` on a connection and return its result.

        Both times are of the monotonic clock: a connection must be free by `take_by`, and `work`
        must end by `end_by`. If the connection proves broken (the server was restarted), `work`
        runs again on a new connection. The pool closes a connection that `work` left within a
        transaction, so the server rolls the transaction back. Raises DatabaseTrouble.
        """
        heartbeat.start()
        while True:
            connection = self._take(take_by)
            connection.ends_at = end_by
            try:
                return work(connection)
            except psycopg.Error as error:
                lost = connection.broken or connection.closed
                if not lost or time.monotonic() >= end_by:
                    raise trouble_with(error) from error
                # Idle connections are as old as the broken connection, so they are broken too.
                self.close()
            finally:
                self._put_back(connection)

    def close(self) -> None:
        """Close the idle connections."""
        with self._changed:
            idle, self._idle = self._idle, []
            self._open -= len(idle)
        for connection in idle:
            connection.close()

    def _take(self, take_by: float) -> DeciderConnection:
        asked_at = time.monotonic()
        with self._changed:
            while not self._idle:
                if self._failed_at < asked_at:
                    self._open_more()
                # The server refuses more connections: wait for an open connection to come back.
                elif not (self._open and isinstance(self._failure, DatabaseBusy)):
                    raise type(self._failure)(*self._failure.args)
                left = take_by - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise no_answer()
            return self._idle.pop()

    def _open_more(self) -> None:
        if self._open < self._size:
            # The machine can't start a thread, so it is busy: the check waits on.
            with suppress(RuntimeError):
                threading.Thread(target=self._open_one, name="decider", daemon=True).start()
                self._open += 1

    def _open_one(self) -> None:
        connection = None
        failure: DatabaseTrouble | None = None
        try:
            connection = connect_decider()
        except DatabaseTrouble as trouble:
            failure = trouble
        finally:
            self._opened(connection, failure)

    def _opened(
        self, connection: DeciderConnection | None, failure: DatabaseTrouble | None
    ) -> None:
        with self._changed:
            if failure is not None:
                self._failure, self._failed_at = failure, time.monotonic()
            if connection is None:
                self._open -= 1
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


_pools: dict[int, DeciderPool] = {}
_making = threading.Lock()


def decider_pool() -> DeciderPool:
    """This process' pool: a fork must not use its parent's connections."""
    pool = _pools.get(os.getpid())
    if pool is None:
        with _making:
            pool = _pools.setdefault(os.getpid(), DeciderPool(settings.CUS_ENFORCEMENT_POOL_SIZE))
    return pool


def close_decider_pool() -> None:
    """Close this process' idle connections and its heartbeat's; the next check opens new ones."""
    heartbeat.stop()
    pool = _pools.pop(os.getpid(), None)
    if pool:
        pool.close()


atexit.register(close_decider_pool)
