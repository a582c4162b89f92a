"""One connection for checks: in the decider's role, with all statements prepared, and with a
deadline for every wait."""

import time
from typing import Any

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import generators, sql

from enforcement.cus_decisions.log import PREPARED as LOG_PREPARED
from enforcement.cus_reading.absence import (
    DatabaseBusy,
    DatabaseTrouble,
    is_answer,
    trouble_of_answer,
    trouble_of_connecting,
    trouble_of_silence,
)
from enforcement.cus_reading.heartbeat import Heartbeat
from enforcement.cus_reading.key_lookup import PREPARED as KEYS_PREPARED
from enforcement.cus_reading.known_models import PREPARED as MODELS_PREPARED
from telemetry.cus_holds.allotments import PREPARED as ALLOTMENTS_PREPARED
from telemetry.cus_holds.hold_changes import PREPARED as CHANGES_PREPARED
from telemetry.cus_holds.holds import PREPARED as HOLDS_PREPARED
from telemetry.cus_holds.holds import Value
from telemetry.cus_holds.leases import PREPARED as LEASES_PREPARED
from telemetry.cus_holds.limit_sums import PREPARED as RUNS_PREPARED

# The server ends a statement that we abandoned soon, so its locks keep no check waiting.
_SERVER_SETTINGS = {
    "statement_timeout": "1s",
    "idle_in_transaction_session_timeout": "2s",
    "plan_cache_mode": "force_generic_plan",
    # Plans are kept from when the tables were small. Without this, a look-up that was planned as
    # a scan would stay a scan when the tables are large.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    # Over millions of rows the planner's estimate of a plan is high enough to compile the plan
    # at each run, and compiling takes longer than a check may take.
    "jit": "off",
    # Times in JSON answers are in UTC.
    "TimeZone": "UTC",
}
_CONNECT_SECONDS = 2
_TABLE_LOCK_MS = 100


class DeciderConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waits all end at `ends_at`, a time of the monotonic clock.

    Statements are sent as text. A result is the first column of each row, as text: for nearly all
    statements one JSON document. A cursor that adapts types costs a check more than deciding does.
    """

    ends_at = float("inf")
    # How many statements of the last message gave rows before one failed.
    answered = 0

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the server until `ends_at`. Raises psycopg.OperationalError."""
        left = max(self.ends_at - time.monotonic(), 0.001)
        return super().wait(gen, interval, left if self.ends_at < float("inf") else timeout)

    def rows(self, message: str) -> list[bytes | None]:
        """Run a message of one or several statements; return the rows of the last that has any."""
        return (self.all_rows(message) or [[]])[-1]

    def all_rows(self, message: str) -> list[list[bytes | None]]:
        """The rows of each statement of a message that gives rows. Raises psycopg.Error."""
        self.answered = 0
        self.pgconn.send_query(message.encode())
        results = self.wait(generators.execute(self.pgconn))
        heartbeat.answered()
        # A message ends with the statement that fails.
        if results[-1].status == psycopg.pq.ExecStatus.FATAL_ERROR:
            self.answered = sum(bool(result.nfields) for result in results)
            raise psycopg.errors.error_from_result(results[-1])
        return [
            [result.get_value(row, 0) for row in range(result.ntuples)]
            for result in results
            if result.nfields
        ]

    def ping(self, ends_at: float) -> None:
        """Wait for any answer until `ends_at`. Raises psycopg.Error."""
        self.ends_at = ends_at
        self.pgconn.send_query(b"SELECT 1")
        self.wait(generators.execute(self.pgconn))

    def call(self, prepared: str, *values: Value) -> str:
        """The text that executes a prepared statement; every connection has prepared them all."""
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
        # libpq quotes the text, because it knows the connection's settings.
        return psycopg.pq.Escaping(self.pgconn).escape_literal(str(value).encode()).decode()


def connect_decider() -> DeciderConnection:
    """A new connection in the decider's role. Raises DatabaseTrouble."""
    connection = _connect()
    try:
        connection.ends_at = time.monotonic() + _CONNECT_SECONDS
        role = sql.Identifier(settings.CUS_DECIDER_ROLE).as_string(connection)
        prepared = [
            *(*HOLDS_PREPARED, *CHANGES_PREPARED, *LEASES_PREPARED, *MODELS_PREPARED),
            *(*LOG_PREPARED, *KEYS_PREPARED, *RUNS_PREPARED, *ALLOTMENTS_PREPARED),
        ]
        begin = [f"SET ROLE {role}", f"SET lock_timeout = {_TABLE_LOCK_MS}"]
        connection.rows("; ".join([*begin, *prepared, "SET lock_timeout = 0"]))
    except psycopg.Error as error:
        connection.close()
        # Preparing a statement reads its tables' columns, so a locked table delays preparing
        # as it delays reading.
        raise trouble_with(error, while_reading=True) from error
    return connection


def trouble_with(error: psycopg.Error, *, while_reading: bool = False) -> DatabaseTrouble:
    """The trouble behind an error on an open connection (ruling F6a)."""
    state, silent = error.sqlstate, heartbeat.silent_seconds()
    if state is None:
        return trouble_of_silence(silent)(type(error).__name__)
    found = trouble_of_answer(state, silent_seconds=silent, while_reading=while_reading)
    return found(f"{type(error).__name__} ({state})")


def no_answer() -> DatabaseTrouble:
    """The trouble behind an answer that did not come in time (ruling F6a)."""
    return trouble_of_silence(heartbeat.silent_seconds())("no answer in time")


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
    try:
        return DeciderConnection.connect(**parameters, autocommit=True)
    except psycopg.Error as error:
        found = trouble_of_connecting(
            str(error),
            timed_out=isinstance(error, psycopg.errors.ConnectionTimeout),
            silent_seconds=heartbeat.silent_seconds(),
        )
        if found is DatabaseBusy and is_answer(str(error)):
            heartbeat.answered()
        raise found("no connection") from error


heartbeat = Heartbeat(_connect)
