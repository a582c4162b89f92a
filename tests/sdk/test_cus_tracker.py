"""A call measured in a block: timed, priced, reported; its exceptions pass through."""

import time
from unittest.mock import Mock

import pytest

from aos_sdk import (
    CusPolicyResult,
    CusTokenUsage,
    cus_track,
)
from tests.sdk.conftest import MakeReporter
from tests.sdk.cus_capture_cases import CusRecordingReporter
from tests.sdk.cus_fake_servers import CusFakeCollector


def test_a_tracked_call_is_timed_priced_and_reported(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    with reporter.track_call("openai", "gpt-4o", call_id="c", session_id="s", agent_id="a") as call:
        time.sleep(0.02)
        call.set_tokens(1_000, 500).set_metadata(team="red").set_metadata(step=1)
        call.set_policy_result("warned").set_policy_result("nonsense")
    reporter.flush(5.0)
    row = collector.stored["c"]
    assert row["cost_cents"] == 1
    assert row["pricing_version"] == "2026-11-28"
    assert 20 <= row["latency_ms"] < 5_000
    assert row["metadata"] == {"team": "red", "step": 1}
    assert row["policy_result"] == CusPolicyResult.WARNED
    assert (row["provider"], row["session_id"], row["agent_id"]) == ("openai", "s", "a")
    assert reporter.stats.faults == 1


def test_what_is_not_billed_by_the_token_is_reported_and_priced(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    with reporter.track_call("anthropic", "claude-sonnet-4") as call:
        call.set_usage(CusTokenUsage(1_000, 500), "standard", {"searches": 2})
    assert reporter.flush(5.0) == 0
    (row,) = collector.stored.values()
    assert (row["billed_units"], row["cost_cents"]) == ({"searches": 2}, 4)
    assert reporter.stats.faults == 0


def test_a_tracked_call_that_fails_passes_its_exception_on_and_masks_it(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    failure = LookupError("key sk-proj-abcdef123456 " + "x" * 2_000)
    with (
        pytest.raises(LookupError) as caught,
        reporter.track_call("openai", "gpt-4o", call_id="c"),
    ):
        raise failure
    assert caught.value is failure
    reporter.flush(5.0)
    row = collector.stored["c"]
    assert row["error_code"] == "LookupError"
    assert row["error_message"].startswith("key [masked] xxx")
    assert len(row["error_message"]) == 1_000


def test_an_exception_that_cannot_say_what_it_is_is_reported_all_the_same(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    reporter = make_reporter()
    with pytest.raises(MuteError), reporter.track_call("openai", "gpt-4o", call_id="c"):
        raise MuteError
    reporter.flush(5.0)
    assert collector.stored["c"]["error_code"] == "MuteError"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupted_call_is_reported_and_stays_interrupted(
    make_reporter: MakeReporter, collector: CusFakeCollector, error: type[BaseException]
) -> None:
    reporter = make_reporter()
    with pytest.raises(error), reporter.track_call("openai", "gpt-4o", call_id="c"):
        raise error
    reporter.flush(5.0)
    assert collector.stored["c"]["error_code"] == error.__name__


def test_a_call_that_cannot_be_priced_goes_without_a_cost(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter()
    with reporter.track_call("custom", "nobody-knows", call_id="unpriced") as call:
        call.set_tokens(10, 10)
    with reporter.track_call("custom", "nobody-knows", call_id="told") as call:
        call.set_tokens(10, 10).set_cost(7)
    with reporter.track_call("openai", "gpt-4o", call_id="silent"):
        pass
    reporter.flush(5.0)
    assert "cost_cents" not in collector.stored["unpriced"]
    assert collector.stored["told"]["cost_cents"] == 7
    assert "cost_cents" not in collector.stored["silent"]


def test_a_clock_that_a_programs_tests_put_in_place_is_theirs_alone(
    recorder: CusRecordingReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("time_ns", "perf_counter", "time"):
        monkeypatch.setattr(time, name, Mock(side_effect=[1]))
    with cus_track("gpt-4o"):
        assert (time.time_ns(), time.perf_counter(), time.time()) == (1, 1, 1)
    monkeypatch.undo()
    (row,) = recorder.rows
    assert 0 <= row["latency_ms"] < 60_000
