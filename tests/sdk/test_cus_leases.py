"""Leases: calls that begin without a question, within what the server lent (rulings F5a, F5c)."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from aos_sdk import CusBlocked, CusLimitWarning, cus_install_middleware, cus_track
from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from aos_sdk.cus_delivery.connection import CusConnection, CusIntegrationKey
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_enforcing import lease_file
from aos_sdk.cus_enforcing.clock import clock
from aos_sdk.cus_enforcing.lease import CusAmounts, CusLease, note_nowhere
from tests.sdk.conftest import KEY
from tests.sdk.cus_capture_cases import CHAT
from tests.sdk.cus_fake_servers import CusFakeGovernor, cus_refusal
from tests.sdk.cus_governed_programs import (
    PLENTY,
    Configure,
    asked_later,
    known_by,
    patched,
    records_of,
    wait_until,
)


@pytest.fixture
def lender(governor: CusFakeGovernor) -> CusFakeGovernor:
    governor.lent = dict(PLENTY)
    return governor


def _lease_of(reporter: Any) -> CusLease:
    def lease() -> CusLease | None:
        found: CusLease | None = reporter.decider.book.current
        return found

    found = wait_until(lease)
    assert found is not None
    return found


def _begun(reporter: Any, client: openai.OpenAI) -> CusLease:
    """Let a program's first call be checked, and its lease come."""
    known_by(reporter).refresh()
    patched(client)
    patched(client)
    return _lease_of(reporter)


def _lease(seconds: float = 5.0, **lent: int) -> CusLease:
    content = {
        "lease_id": str(uuid.uuid4()),
        "valid_for_ms": int(seconds * 1_000),
        "decision": {"result": "allowed"},
        **PLENTY,
        **lent,
    }
    return CusLease(content, clock(), note_nowhere)


# --- One lease ----------------------------------------------------------------------------------


def test_calls_of_all_threads_together_take_no_more_than_was_lent() -> None:
    lease = _lease(cents=1_000)
    with ThreadPoolExecutor(16) as threads:
        taken = list(threads.map(lambda _: lease.take(3 * MICROCENTS_PER_CENT, 1), range(2_000)))
    assert sum(one is not None for one in taken) == 333
    assert lease.set_aside == CusAmounts(999, 999 * MICROCENTS_PER_CENT, 333, 333)


@pytest.mark.parametrize("unit", ["cents", "microcents", "tokens", "calls"])
def test_a_call_needs_enough_of_each_unit(unit: str) -> None:
    lease = _lease(**{unit: 2})
    taken = [lease.take(1, 1) is not None for _ in range(3)]
    assert taken == [True, True, False]


def test_a_call_takes_at_least_the_least_that_a_call_can_cost() -> None:
    lease = _lease()
    lease.take(0, 0)
    assert lease.set_aside == CusAmounts(1, 1, 1, 1)


def test_no_call_begins_after_the_end_of_a_lease_or_its_close() -> None:
    assert _lease(seconds=0.0).take(1, 1) is None
    closed = _lease()
    closed.close()
    assert closed.take(1, 1) is None


def test_a_lease_lasts_five_seconds_at_most_whatever_the_server_says() -> None:
    assert _lease(seconds=3_600.0).until <= clock() + 5.0


def test_what_a_call_did_not_use_serves_the_next_and_what_it_used_beyond_is_missing() -> None:
    lease = _lease(tokens=100)
    unused = lease.take(1, 60)
    assert unused is not None
    lease.give_back(unused)
    assert lease.set_aside == CusAmounts()
    overrun = lease.take(1, 60)
    assert overrun is not None
    lease.end(overrun, 90)
    assert lease.take(1, 11) is None
    assert lease.take(1, 10) is not None
    assert lease.set_aside.tokens == 70


# --- Calls --------------------------------------------------------------------------------------


def test_calls_under_a_lease_ask_nothing_and_their_records_say_what_they_took(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    lease = _begun(reporter, client)
    checks = len(lender.checks)
    for _ in range(20):
        patched(client)
    assert len(lender.checks) == checks
    assert lease.running == 0
    leased = [one for one in records_of(lender, reporter) if "lease_id" in one]
    assert {one["lease_id"] for one in leased} == {str(lease.id)}
    assert len(leased) == lease.set_aside.calls >= 20
    for unit in ("cents", "microcents", "tokens"):
        assert sum(one["reserved"][unit] for one in leased) == getattr(lease.set_aside, unit)


def test_a_lease_is_renewed_while_calls_are_made_and_returned_when_they_end(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    lender.lease_seconds = 0.6
    reporter = configure()
    _begun(reporter, client)
    checks, leases, calls = len(lender.checks), set[uuid.UUID](), 0
    while len(leases) < 4:
        patched(client)
        calls += 1
        if (lease := reporter.decider.book.current) is not None:  # type: ignore[union-attr]
            leases.add(lease.id)
        time.sleep(0.01)
    # A busy machine may renew too late: then a check decides, and no call waits.
    assert len(lender.checks) - checks < calls
    wait_until(lambda: not lender.owed)
    leased = [one for one in records_of(lender, reporter) if "lease_id" in one]
    assert sum(one["calls"] for one in lender.set_aside.values()) == len(leased)
    spent = [one["spent"] for one in lender.lease_requests if "estimate" in one]
    assert spent[0] is None
    assert all(one["calls"] >= 0 for one in spent[1:])


def test_a_program_that_stops_calling_asks_for_no_further_lease(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    lender.lease_seconds = 0.3
    reporter = configure()
    _begun(reporter, client)
    wait_until(lambda: not lender.owed)
    asked = len([one for one in lender.lease_requests if "estimate" in one])
    time.sleep(0.5)
    assert len([one for one in lender.lease_requests if "estimate" in one]) == asked
    assert reporter.decider is not None
    assert reporter.decider.book.current is None


def test_a_call_that_does_not_fit_the_lease_is_checked(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    lease = _begun(reporter, client)
    with lease._changing:
        lease._most, lease._due = [0, 0, 0, 0], [0, 0, 0, 0]
    lender.room = 0
    with pytest.raises(CusBlocked):
        patched(client)


def test_a_call_whose_id_the_program_has_chosen_is_checked(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    _begun(reporter, client)
    with cus_track("gpt-4o", max_tokens=10, call_id="mine"):
        pass
    with reporter.track_call("openai", "gpt-4o", call_id="outer"):
        patched(client)
    assert {"mine", "outer"} <= {check["call_id"] for check in lender.checks}


def test_a_call_within_a_call_takes_once_and_the_record_of_both_says_it(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    lease = _begun(reporter, client)
    before = lease.set_aside.calls
    with cus_track("gpt-4o", max_tokens=10):
        patched(client)
    with reporter.track_call("openai", "gpt-4o"):
        patched(client)
    assert lease.set_aside.calls == before + 2
    leased = [one for one in records_of(lender, reporter) if "lease_id" in one]
    assert len(leased) == before + 2


def test_what_a_call_took_that_never_left_serves_the_next(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    lease = _begun(reporter, client)
    before = lease.set_aside
    with pytest.raises(TypeError):
        client.chat.completions.create(**CHAT, nonsense=1)  # type: ignore[call-overload]
    assert (lease.set_aside, lease.running) == (before, 0)


def test_calls_under_a_lease_that_was_lent_near_a_limit_are_warned(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    lender.verdict = {**cus_refusal(code="budget_warning"), "result": "warned"}
    with pytest.warns(CusLimitWarning):
        _begun(reporter, client)
    patched(client)
    assert {one["policy_result"] for one in records_of(lender, reporter)} == {"warned"}


def test_asynchronous_calls_take_of_a_lease_in_the_event_loops_own_thread(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI, provider: Any
) -> None:
    reporter = configure()
    lease = _begun(reporter, client)
    checks, before = len(lender.checks), lease.set_aside.calls
    asyncio.run(asked_later(provider))
    assert (len(lender.checks), lease.set_aside.calls) == (checks, before + 1)


@pytest.mark.parametrize(
    ("model", "is_leased"),
    [("claude-sonnet-4", True), ("gpt-4o-2024-08-06", False), ("gpt-4o", False), ("made-up", True)],
)
def test_calls_of_models_without_an_own_price_are_leased_and_others_checked(
    configure: Configure,
    lender: CusFakeGovernor,
    client: openai.OpenAI,
    model: str,
    is_leased: bool,
) -> None:
    """Calls for gpt-4o may be answered by gpt-4o-2024-08-06, and the other way round."""
    lender.configuration["overrides"] = [{"id": "1", "model": model, "prices": {}}]
    reporter = configure()
    known_by(reporter).refresh()
    for _ in range(2):
        patched(client)
    if is_leased:
        _lease_of(reporter)
    else:
        assert "estimated_cost_cents" not in lender.checks[-1]
        assert not lender.lease_requests


# --- The server ---------------------------------------------------------------------------------


def test_a_newer_configuration_ends_a_lease(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    _begun(reporter, client)
    lender.configuration |= {"status": "disabled", "config_version": 2}
    lender.room, lender.lent = 0, {}
    lender.refusal = {**cus_refusal(code="integration_disabled"), "result": "hard_blocked"}
    known_by(reporter).refresh()
    known_by(reporter).hurry()
    assert reporter.decider is not None
    book = reporter.decider.book
    wait_until(lambda: book.current is None)
    wait_until(lambda: not lender.owed)


def test_a_lease_holds_while_the_server_is_away_and_ends_all_the_same(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    lender.lease_seconds = 0.5
    reporter = configure()
    lease = _begun(reporter, client)
    lender.trouble = [None]
    before = lease.set_aside.calls
    patched(client)
    assert lease.set_aside.calls == before + 1
    wait_until(lambda: lease.is_over)
    patched(client)
    lender.trouble = []
    degraded = [one for one in records_of(lender, reporter) if one.get("degraded")]
    assert len(degraded) == 1


def test_a_server_without_leases_is_asked_once_and_checks_every_call(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    patched(client)
    wait_until(lambda: governor.lease_requests)
    for _ in range(5):
        patched(client)
    assert (len(governor.checks), len(governor.lease_requests)) == (6, 1)


def test_a_server_that_lends_nothing_now_is_asked_again_later(
    configure: Configure,
    lender: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aos_sdk.cus_enforcing.lease_line._FIRST_PAUSE_SECONDS", 0.05)
    lender.lent = {}
    reporter = configure()
    known_by(reporter).refresh()
    patched(client)
    wait_until(lambda: lender.lease_requests)
    lender.lent = dict(PLENTY)
    patched(client)
    _lease_of(reporter)


def test_a_lease_whose_answer_got_lost_is_returned(
    configure: Configure,
    lender: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aos_sdk.cus_enforcing.lease_book._FIRST_PAUSE_SECONDS", 0.05)
    lender.loses_answers = True
    reporter = configure()
    known_by(reporter).refresh()
    patched(client)
    (lost, *_) = wait_until(lambda: list(lender.owed))

    lender.loses_answers = False

    wait_until(lambda: lost not in lender.owed)
    assert lender.set_aside[lost] == {"cents": 0, "microcents": 0, "tokens": 0, "calls": 0}


@pytest.mark.usefixtures("client")
def test_the_amounts_of_running_calls_are_held_on(
    configure: Configure,
    lender: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aos_sdk.cus_enforcing.lease_book._KEEP_AFTER_SECONDS", 0.1)
    lender.lease_seconds = 0.3
    reporter = configure()
    lease = _begun(reporter, client)
    with cus_track("gpt-4o", max_tokens=10):
        wait_until(lambda: any(str(lease.id) in one["keep"] for one in lender.lease_requests))
    assert reporter.decider is not None
    book = reporter.decider.book
    wait_until(lambda: not book._past)


# --- Processes ----------------------------------------------------------------------------------


def test_a_fork_takes_no_lease_along(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    lease = _begun(reporter, client)
    before = lease.set_aside
    child = os.fork()
    if child == 0:
        try:
            assert reporter.decider is not None
            assert reporter.decider.book.current is None
            client.chat.completions.create(**CHAT)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert lease.set_aside == before
    patched(client)
    assert lease.set_aside.calls == before.calls + 1


_PROGRAM = """
import os, sys, time
import aos_sdk
reporter = aos_sdk.cus_configure(enforce="auto", batch_interval=60.0)
def call():
    with aos_sdk.cus_track("gpt-4o", max_tokens=10) as tracked:
        tracked.set_tokens(1, 1)
call()
for _ in range(500):
    if reporter.decider.book.current is not None:
        break
    call()
    time.sleep(0.01)
call()
print(reporter.decider.book.current.set_aside.calls, flush=True)
if sys.argv[1] == "wait":
    time.sleep(60)
"""


@pytest.fixture
def environment(lender: CusFakeGovernor) -> dict[str, str]:
    return {
        **os.environ,
        "CUS_INTEGRATION_KEY": KEY,
        "AOS_BASE_URL": lender.url,
        "CUS_ENFORCE": "auto",
    }


def test_a_program_returns_its_lease_at_its_end(
    lender: CusFakeGovernor, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-c", _PROGRAM, "end"]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert not lender.owed
    (amounts,) = lender.set_aside.values()
    assert amounts["calls"] == int(done.stdout)


def test_the_next_process_of_the_host_returns_the_leases_of_a_killed_one(
    lender: CusFakeGovernor,
    environment: dict[str, str],
    configure: Configure,
    client: openai.OpenAI,
) -> None:
    command = [sys.executable, "-c", _PROGRAM, "wait"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        taken = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    (killed,) = lender.owed
    reporter = configure()
    _begun(reporter, client)
    wait_until(lambda: killed not in lender.owed)
    assert lender.set_aside[killed]["calls"] == taken
    reporter.decider.close()  # type: ignore[union-attr]
    assert not list(Path(os.environ["CUS_SPOOL_DIR"]).rglob("*.leases"))


def test_a_host_without_a_former_process_does_not_say_that_it_keeps_what_it_sets_aside(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    """A container's folder ends with the container, and nobody returns what was lent."""
    _begun(configure(), client)
    assert lender.lease_requests[0]["is_durable"] is False
    wait_until(lambda: list(Path(os.environ["CUS_SPOOL_DIR"]).rglob("configuration")))
    before = len(lender.lease_requests)
    _begun(configure(), client)
    asked = [one for one in lender.lease_requests[before:] if "estimate" in one]
    assert asked[0]["is_durable"] is True


# --- The file -----------------------------------------------------------------------------------


@pytest.fixture
def spool(tmp_path: Path) -> CusSpool:
    connection = CusConnection(CusIntegrationKey.parse(KEY), "http://127.0.0.1:9")
    return CusSpool(str(tmp_path / "spool"), connection)


def test_a_file_of_leases_is_adopted_only_once_its_process_is_gone(spool: CusSpool) -> None:
    file = lease_file.make(spool)
    assert file is not None
    lease_id = uuid.uuid4()
    slot = file.add(lease_id)
    assert slot is not None
    file.note_of(slot)(1, 2, 3, 4)
    assert list(lease_file.left_by_the_dead(spool)) == []
    file.close()
    (adopted,) = lease_file.left_by_the_dead(spool)
    assert list(adopted.leases()) == [(slot, lease_id, CusAmounts(1, 2, 3, 4))]
    adopted.remove(slot)
    adopted.close()
    assert list(lease_file.left_by_the_dead(spool)) == []


def test_a_full_file_keeps_no_further_lease_and_a_freed_slot_the_next(spool: CusSpool) -> None:
    file = lease_file.make(spool)
    assert file is not None
    slots = [file.add(uuid.uuid4()) for _ in range(lease_file.SLOTS)]
    assert (None in slots, file.add(uuid.uuid4())) == (False, None)
    file.remove(7)
    assert file.add(uuid.uuid4()) == 7
    file.close()


@pytest.mark.parametrize("content", [b"", b"x" * 4_096, b"AOSLEASE\xff\0\0\0".ljust(4_096, b"\0")])
def test_a_file_of_another_version_is_left_alone(spool: CusSpool, content: bytes) -> None:
    spool.prepare()
    path = Path(spool.folder, "other.leases")
    path.write_bytes(content)
    assert list(lease_file.left_by_the_dead(spool)) == []
    assert path.read_bytes() == content


def test_many_threads_of_a_program_find_one_lease(
    configure: Configure, lender: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure(contention_seconds=10.0)
    cus_install_middleware()
    _begun(reporter, client)
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        for _ in range(25):
            client.chat.completions.create(**CHAT)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = records_of(lender, reporter)
    leased = [one for one in records if "lease_id" in one]
    assert len(leased) + len(lender.checks) == len(records) > 200
    assert leased
