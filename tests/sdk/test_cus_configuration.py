"""`cus_configure`: what is said, what the environment says, and what cannot be meant."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from aos_sdk import (
    CusConfigurationError,
    cus_configure,
    cus_get_reporter,
    cus_shutdown,
    cus_track,
)
from aos_sdk.cus_configuration import active
from tests.sdk.conftest import KEY
from tests.sdk.cus_fake_servers import CusFakeCollector


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    active.replace(None)
    yield
    cus_shutdown(1.0)
    active.replace(None)


def test_what_is_configured_is_what_reports(collector: CusFakeCollector) -> None:
    reporter = cus_configure(
        KEY, collector.url, batch_size=7, session_id="s", agent_id="a", batch_interval=0.05
    )
    assert cus_get_reporter() is reporter
    with cus_track("gpt-4o", provider="openai") as tracker:
        tracker.set_tokens(1_000, 500)
    assert cus_shutdown(5.0) == 0
    (row,) = collector.stored.values()
    assert (row["session_id"], row["agent_id"], row["tokens_in"]) == ("s", "a", 1_000)


def test_what_is_not_said_the_environment_says(
    collector: CusFakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "CUS_INTEGRATION_KEY": KEY,
        "AOS_BASE_URL": collector.url,
        "CUS_STREAM_USAGE": "estimate",
        "CUS_SESSION_ID": "from-outside",
        "CUS_AUTO_REPORT": "no",
        "CUS_ENFORCE": "check",
    }.items():
        monkeypatch.setenv(name, value)
    cus_configure(session_id="said")
    configuration = active.get()
    assert configuration.reporter.integration_id == "integration-1"
    assert (configuration.stream_usage, configuration.session_id) == ("estimate", "said")
    assert configuration.enforcing is not None
    assert (configuration.auto_report, configuration.enforcing.enforce) == (False, "check")


def test_without_a_key_the_program_runs_and_nothing_is_reported() -> None:
    with cus_track("gpt-4o") as tracker:
        tracker.set_tokens(1, 1)
    assert cus_get_reporter().problem is not None
    assert cus_get_reporter().stats.queued == 0


@pytest.mark.parametrize(
    "said", [{"stream_usage": "perhaps"}, {"on_unavailable": "maybe"}, {"enforce": "always"}]
)
def test_what_cannot_be_meant_is_said_at_once(said: Any) -> None:
    with pytest.raises(CusConfigurationError, match="must be one of"):
        cus_configure(KEY, **said)


def test_an_environment_that_cannot_be_meant_stops_no_call(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CUS_BATCH_SIZE", "many")
    with pytest.raises(CusConfigurationError, match="CUS_BATCH_SIZE"):
        cus_configure(KEY)
    with caplog.at_level(logging.WARNING, logger="aos_sdk"):
        for _ in range(2):
            with cus_track("gpt-4o"):
                pass
    said = [record.getMessage() for record in caplog.records]
    assert [text for text in said if "CUS_BATCH" in text]
    assert len([text for text in said if "captured" in text]) == 1
