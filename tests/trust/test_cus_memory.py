"""What a campaign says of its memory is true."""

import subprocess
import sys

import pytest

from tests.trust import cus_memory
from tests.trust.cus_memory import PeakMemory, family

_MB = 10**6
# Forks a process that shares its memory, says so, and waits for the end of its input.
_SHARING = f"""
import os, sys
held = b"x" * {100 * _MB}
child = os.fork()
os.write(1, b"ready\\n")
sys.stdin.read()
"""


def test_memory_that_processes_share_counts_once() -> None:
    before, peak = PeakMemory(), PeakMemory()
    before.look()
    with subprocess.Popen(
        [sys.executable, "-c", _SHARING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout
        assert [program.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        assert len(family(program.pid)) == 2
        peak.look()
        program.communicate()
    assert peak.processes == before.processes + 2
    assert 100 * _MB < peak.most_bytes - before.most_bytes < 150 * _MB


def test_a_look_raises_before_the_machine_has_no_memory_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cus_memory, "_LEAST_LEFT_BYTES", 10**15)
    with pytest.raises(MemoryError, match="no memory left"):
        PeakMemory().look()
