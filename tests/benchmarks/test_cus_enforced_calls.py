"""The calls that `benchmarks.cus_enforced_calls` makes at once all end. How fast, no test says."""

import pytest

from aos_sdk.cus_configuration import active
from benchmarks.cus_enforced_calls import main


def test_calls_of_a_loop_and_of_threads_all_end(capsys: pytest.CaptureFixture[str]) -> None:
    before = active.configuration
    try:
        assert main(["--calls", "60"]) == 0
    finally:
        active.replace(before)
    assert "32 threads" in capsys.readouterr().out
