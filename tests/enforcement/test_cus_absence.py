"""Load is never absence (ruling F6a): what each failure to read says of the database."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connections
from psycopg.errors import _sqlcodes

from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.service import CusEnforcementService
from enforcement.cus_reading.absence import (
    SILENT_SECONDS,
    DatabaseAbsent,
    DatabaseBusy,
    EvidenceUnreadable,
    Trouble,
    trouble_of_answer,
    trouble_of_connecting,
    trouble_of_silence,
)
from enforcement.cus_reading.connection import DeciderConnection, connect_decider
from enforcement.cus_reading.heartbeat import Heartbeat
from enforcement.cus_rules.precedence import Decision
from integrations.cus_lifecycle.models import CusIntegration
from tests.conftest import _superuser

CONNECTING = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '
pytestmark = pytest.mark.real_deadlines
# A machine that is slow to run a thread must not make a check late.
EARLY = -30.0


def of_answer(state: str, *, while_reading: bool = False) -> Trouble:
    return trouble_of_answer(state, silent_seconds=0.1, while_reading=while_reading)


def test_every_answer_is_load_but_those_that_the_ruling_names() -> None:
    found = {state: of_answer(state) for state in _sqlcodes}

    unreadable = {state for state in _sqlcodes if state[:2] in ("42", "58")} | {"53100"}
    assert len(found) > 200
    assert {state for state, one in found.items() if one is EvidenceUnreadable} == unreadable
    assert {state for state, one in found.items() if one is DatabaseAbsent} == {
        "57P01",
        "57P02",
        "57P03",
    }


@pytest.mark.parametrize("state", ["57014", "53300", "53200", "40001", "40P01", "53400", "XX000"])
def test_load_stays_load_however_long_nothing_else_was_heard(state: str) -> None:
    found = trouble_of_answer(state, silent_seconds=3_600, while_reading=True)

    assert found is DatabaseBusy


def test_a_lock_timeout_is_absence_only_of_the_reading_itself() -> None:
    assert of_answer("55P03", while_reading=True) is EvidenceUnreadable
    assert of_answer("55P03") is DatabaseBusy


def test_what_a_pooler_says_of_its_server_counts_as_silence() -> None:
    assert trouble_of_answer("08006", silent_seconds=0.1, while_reading=False) is DatabaseBusy
    assert trouble_of_answer("08006", silent_seconds=3, while_reading=False) is DatabaseAbsent


def test_silence_is_absence_only_after_two_seconds_without_any_answer() -> None:
    assert trouble_of_silence(SILENT_SECONDS) is DatabaseBusy
    assert trouble_of_silence(SILENT_SECONDS + 0.001) is DatabaseAbsent


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{CONNECTING}Connection refused\n\tIs the server running?", DatabaseAbsent),
        (f"{CONNECTING}No route to host", DatabaseAbsent),
        (f"{CONNECTING}server closed the connection unexpectedly", DatabaseAbsent),
        ("failed to resolve host 'db': [Errno -2] Name or service not known", DatabaseAbsent),
        (f"{CONNECTING}FATAL:  the database system is starting up", DatabaseAbsent),
        (f"{CONNECTING}FATAL:  the database system is shutting down", DatabaseAbsent),
        (f'{CONNECTING}FATAL:  permission denied for database "cus"', EvidenceUnreadable),
        (f"{CONNECTING}FATAL:  sorry, too many clients already", DatabaseBusy),
        (f"{CONNECTING}FATAL:  tut mir leid, schon zu viele Verbindungen", DatabaseBusy),
        (f'{CONNECTING}FATAL:  password authentication failed for user "x"', DatabaseBusy),
        (f"could not create socket: {os.strerror(errno.EMFILE)}", DatabaseBusy),
        (f"connection to server failed: {os.strerror(errno.EAGAIN)}", DatabaseBusy),
    ],
)
def test_a_connection_that_fails_is_absence_unless_somebody_is_busy(
    text: str, expected: Trouble
) -> None:
    assert trouble_of_connecting(text, timed_out=False, silent_seconds=0.1) is expected


def test_a_connection_that_is_slow_to_open_is_load_while_anything_else_is_answered() -> None:
    for silent_seconds, expected in ((0.1, DatabaseBusy), (3.0, DatabaseAbsent)):
        found = trouble_of_connecting(
            "connection timeout expired", timed_out=True, silent_seconds=silent_seconds
        )
        assert found is expected


# --- With a real server -------------------------------------------------------------------------


def check(integration: CusIntegration, call_id: str, early: float = 0.0) -> Decision:
    caller = Caller(integration.tenant_id, integration.id, time.monotonic() - early)
    request = CheckRequest(call_id=call_id, estimated_tokens=1, estimated_cost_cents=1)
    return CusEnforcementService(caller).check(request).decision


@contextmanager
def before_reading(monkeypatch: pytest.MonkeyPatch, statement: str) -> Iterator[None]:
    """Each reading does this first, within its own time."""
    rows = DeciderConnection.all_rows

    def slowed(self: DeciderConnection, message: str) -> Any:
        return rows(self, message.replace("EXECUTE cus_read(", f"{statement}; EXECUTE cus_read("))

    with monkeypatch.context() as patch:
        patch.setattr(DeciderConnection, "all_rows", slowed)
        yield


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("statement", "code", "result"),
    [
        ("SELECT pg_sleep(5)", "contention", "throttled"),
        ("DO $$BEGIN RAISE EXCEPTION USING ERRCODE = '53200'; END$$", "contention", "throttled"),
        ("DO $$BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END$$", "contention", "throttled"),
        ("DO $$BEGIN RAISE EXCEPTION USING ERRCODE = 'XX000'; END$$", "contention", "throttled"),
        ("DO $$BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END$$", "evidence_unavailable", "allowed"),
        ("DO $$BEGIN RAISE EXCEPTION USING ERRCODE = '58030'; END$$", "evidence_unavailable", "allowed"),
        ("SELECT * FROM there_is_no_such_table", "evidence_unavailable", "allowed"),
    ],
)  # fmt: skip
def test_a_reading_that_fails_is_load_unless_the_server_says_that_it_cannot_read(
    integration: CusIntegration,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    code: str,
    result: str,
) -> None:
    check(integration, "warm", EARLY)

    with before_reading(monkeypatch, statement):
        decision = check(integration, "call")

    assert (decision.reasons[0].code, decision.result) == (code, result)
    assert decision.degraded == (result == "allowed")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["cus_period_totals", "cus_integrations", "cus_price_overrides"])
def test_a_table_that_somebody_has_locked_is_absence(
    integration: CusIntegration, table: str
) -> None:
    check(integration, "warm", EARLY)
    database = str(connections["default"].settings_dict["NAME"])

    with _superuser(database) as session, session.transaction():
        session.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        decision = check(integration, "call")

    assert decision.reasons[0].code == "evidence_unavailable"
    assert decision.degraded


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_a_locked_table_keeps_from_getting_ready_is_absence(
    integration: CusIntegration,
) -> None:
    database = str(connections["default"].settings_dict["NAME"])
    with _superuser(database) as session, session.transaction():
        session.execute("LOCK TABLE cus_integrations IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(EvidenceUnreadable):
            connect_decider()

    connect_decider().close()


class Server:
    """Stands in for a database that answers, refuses or hangs, as it is told."""

    def __init__(self) -> None:
        self.there = True
        self.asked = 0
        self.open = False

    def __call__(self) -> "Server":
        return self

    def ping(self, ends_at: float) -> None:
        self.asked += 1
        self.open = True
        if not self.there:
            raise psycopg.OperationalError

    def close(self) -> None:
        self.open = False


def until_asked(server: Server, times: int) -> None:
    wanted = server.asked + times
    while server.asked < wanted:
        time.sleep(0.001)


def test_the_heartbeat_hears_answers_and_goes_on_after_failures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("enforcement.cus_reading.heartbeat._EVERY_SECONDS", 0.01)
    server = Server()
    heartbeat = Heartbeat(server)
    assert heartbeat.silent_seconds() == float("inf")

    heartbeat.start()
    until_asked(server, 2)
    server.there = False
    until_asked(server, 1)
    silent_from = heartbeat._answered_at
    until_asked(server, 2)
    assert heartbeat._answered_at == silent_from

    server.there = True
    until_asked(server, 2)
    assert heartbeat._answered_at > silent_from

    heartbeat.stop()
    asked = server.asked
    time.sleep(0.05)
    assert (server.asked, server.open) == (asked, False)
    heartbeat.start()
    until_asked(server, 1)
    heartbeat.stop()
