"""The supervisor with small shell programs: restarts, giving up, and an end without remains."""

import contextlib
import io
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aos_project.cus_embedded.errors import KeepsDying, NeverReady, StepFailed
from aos_project.cus_embedded.process import Program, wait_for
from aos_project.cus_supervisor import Console, Interrupted, Supervisor

GOODBYE = "trap 'echo bye; exit 0' TERM; echo here; while :; do sleep 0.02; done"


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor(Console(), first_delay=0.01) as supervisor:
        yield supervisor


def shell(name: str, script: str, obeys_within: float = 5.0) -> Program:
    return Program(
        name, ["/bin/sh", "-c", script], Path("/"), stop=((signal.SIGTERM, obeys_within),)
    )


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def pids_in(file: Path) -> list[int]:
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def test_programs_end_in_the_reverse_order_of_their_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Supervisor(Console()) as supervisor:
        for name in ("first", "second", "third"):
            supervisor.start(shell(name, GOODBYE))
        lines = printed_lines(capsys, supervisor, 3)
    lines += capsys.readouterr().out.splitlines()
    assert sorted(lines[:3]) == ["first    | here", "second   | here", "third    | here"]
    assert lines[3:] == ["third    | bye", "second   | bye", "first    | bye"]


def printed_lines(
    capsys: pytest.CaptureFixture[str], supervisor: Supervisor, count: int
) -> list[str]:
    lines: list[str] = []

    def enough() -> bool:
        lines.extend(capsys.readouterr().out.splitlines())
        return len(lines) >= count

    supervisor.wait_until(enough, "first")
    return lines


def test_killed_program_is_restarted_after_what_it_left_behind_is_gone(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    mains, helpers = tmp_path / "mains", tmp_path / "helpers"
    supervisor.start(shell("web", f"sleep 60 & echo $! >>{helpers}; echo $$ >>{mains}; wait"))
    supervisor.wait_until(lambda: len(pids_in(mains)) == 1, "web")
    os.kill(pids_in(mains)[0], signal.SIGKILL)
    supervisor.wait_until(lambda: len(pids_in(mains)) == 2, "web")
    old, new = pids_in(helpers)
    assert not is_running(old)
    assert is_running(new)


def test_program_that_keeps_dying_is_given_up_and_named_with_its_last_lines(
    supervisor: Supervisor,
) -> None:
    supervisor.start(shell("web", "echo no such table; exit 3"))
    with pytest.raises(KeepsDying, match=r"(?s)web died 6 times.*no such table"):
        supervisor.watch()


def test_stubborn_program_and_its_helpers_are_killed_when_its_time_is_up(tmp_path: Path) -> None:
    helpers = tmp_path / "helpers"
    with Supervisor(Console()) as supervisor:
        script = f"trap '' TERM; sleep 60 & echo $! $$ >{helpers}; wait; sleep 60"
        supervisor.start(shell("web", script, obeys_within=0.2))
        supervisor.wait_until(lambda: len(pids_in(helpers)) == 2, "web")
    assert wait_for(lambda: not any(is_running(pid) for pid in pids_in(helpers)), 20)


def test_second_request_to_stop_does_not_wait_for_stubborn_programs(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with contextlib.suppress(Interrupted), Supervisor(Console()) as supervisor:
        script = f"trap '' TERM; echo $$ >{ready}; while :; do sleep 0.02; done"
        supervisor.start(shell("web", script, obeys_within=1000))
        supervisor.wait_until(lambda: pids_in(ready) != [], "web")
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.6)
        signal.raise_signal(signal.SIGINT)
        supervisor.watch()
    assert not is_running(pids_in(ready)[0])


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_request_to_stop_interrupts(supervisor: Supervisor, sig: signal.Signals) -> None:
    signal.raise_signal(sig)
    with pytest.raises(Interrupted):
        supervisor.watch()


def test_closed_terminal_counts_as_a_request_to_stop(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        supervisor.start(shell("web", GOODBYE))
        with pytest.raises(Interrupted):
            supervisor.watch()


def test_step_that_fails_is_reported_with_its_exit_code(supervisor: Supervisor) -> None:
    with pytest.raises(StepFailed, match=r"prepare failed \(exit code 4\)"):
        supervisor.run(shell("prepare", "exit 4"))


def test_program_that_never_gets_ready_is_reported_with_its_last_lines(
    supervisor: Supervisor,
) -> None:
    supervisor.start(shell("web", "echo waiting for the moon; sleep 60"))
    with pytest.raises(NeverReady, match=r"(?s)web was not ready.*the moon"):
        supervisor.wait_until(lambda: False, "web", seconds=1)


def test_lines_are_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    Console().line("web", "hello")
    assert terminal.getvalue() == "\033[36mweb      | \033[0mhello\n"
    monkeypatch.setattr(sys, "stdout", plain := io.StringIO())
    Console().line("web", "hello")
    assert plain.getvalue() == "web      | hello\n"


def test_the_programs_state_is_printed_from_time_to_time() -> None:
    states: list[str] = []

    class Watched(Console):
        def status(self, text: str) -> None:
            states.append(text)
            if len(states) == 2:
                raise Interrupted

    with Supervisor(Watched()) as supervisor:
        supervisor.start(shell("steady", GOODBYE))
        with pytest.raises(Interrupted):
            supervisor.watch(status_seconds=0.01)

    assert all(re.fullmatch(r"\d\d:\d\d UTC  programs running: 1", state) for state in states)


def test_on_a_terminal_the_state_takes_the_place_of_the_last_and_moves_nothing_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    console = Console()

    console.status("first")
    console.status("second")
    console.say("a warning")

    assert capsys.readouterr().out == "first\r\033[Ksecond\r\033[Ka warning\n"
