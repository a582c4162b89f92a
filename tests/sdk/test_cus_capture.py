"""Every way of capture on every surface: one record each, and the program cannot tell.

The newest packages of the providers, against a local server that speaks their protocols.
"""

from dataclasses import replace
from typing import Any

import pytest

from aos_sdk import CusTokenUsage, price_call
from aos_sdk.cus_capture.provider_versions import SUPPORTED, installed_version
from tests.sdk.cus_capture_cases import (
    ABSENT,
    ADAPTED,
    CASES,
    WAYS,
    Case,
    CusRecordingReporter,
    tried,
)
from tests.sdk.cus_fake_providers import CusFakeProvider

SYNC_AND_ASYNC = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
# What a block can be shown; asynchronous blocks are tried in test_cus_capture_ways.
BY_HAND = ("chat", "chat parse", "messages", "messages parse", "beta messages", "responses")
# OpenAI reports no usage in a stream unless it is asked, and these ways see no prompt to count.
WITHOUT_USAGE = ("chat stream", "chat helper", "beta chat helper", "chat raw stream")


def _triples() -> list[Any]:
    triples = []
    for way in WAYS:
        for name, case in CASES.items():
            if way == "adapter" and case.path not in ADAPTED:
                continue
            if way == "block" and name not in BY_HAND:
                continue
            triples.append(pytest.param(way, name, False, id=f"{way}-{name}-sync"))
            if way != "block":
                triples.append(pytest.param(way, name, True, id=f"{way}-{name}-async"))
    return triples


def _assert_priced(row: dict[str, Any]) -> None:
    names = CusTokenUsage._fields
    usage = CusTokenUsage(**{name: row[name] for name in names if name in row})
    units = row.get("billed_units")
    tier = row.get("service_tier")
    priced = price_call(row["model"], usage, service_tier=tier, billed_units=units)
    is_known = any(usage[:2]) or units
    assert row.get("cost_cents") == (priced.cost_cents if priced and is_known else None)


# The newest packages call translations deprecated.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize(("way", "name", "is_async"), _triples())
def test_a_call_is_recorded_once_with_its_tokens_and_its_cost_and_the_program_cannot_tell(
    way: str, name: str, is_async: bool, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    case = CASES[name]
    bare = tried(None, case, provider.url, is_async=is_async)
    assert recorder.rows == []
    governed = tried(WAYS[way], case, provider.url, is_async=is_async)
    assert governed.seen == bare.seen
    (row,) = recorder.rows
    expected = dict(case.expects)
    if way in ("middleware", "adapter"):
        # The fake's host belongs to no provider, so the record leaves the provider to the server.
        expected.update(provider=None, host="127.0.0.1")
    else:
        # These do not know the kind of the call, so the SDK does not count its tokens itself.
        expected.pop("operation")
        if name in WITHOUT_USAGE:
            expected.update(tokens_in=0, tokens_out=0)
    assert {key: row.get(key) for key in expected} == expected
    assert row.get("stream", False) == case.is_stream
    assert 0 <= row["latency_ms"] <= governed.elapsed_ms + 1
    assert "error_code" not in row
    assert "private" not in str(row)
    _assert_priced(row)
    assert recorder.stats.faults == 0


def test_the_newest_packages_have_every_surface() -> None:
    newest = {package: str(known.below - 1) for package, known in SUPPORTED.items()}
    if all(
        (installed_version(package) or "").startswith(f"{major}.")
        for package, major in newest.items()
    ):
        assert not ABSENT


MOODS: dict[str, tuple[dict[str, Any], bool]] = {
    "refused": ({"max_retries": 0}, True),
    "fails": ({"max_retries": 3}, False),
    "silent": ({"max_retries": 0, "timeout": 0.2}, True),
}


@SYNC_AND_ASYNC
@pytest.mark.parametrize("mood", MOODS)
@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("middleware", "chat stream"),
        ("middleware", "responses"),
        ("middleware", "messages helper"),
        ("adapter", "chat"),
        ("adapter", "messages"),
        ("decorator", "messages stream"),
    ],
)
def test_errors_timeouts_and_retries_of_the_client_are_one_call(
    way: str,
    name: str,
    mood: str,
    is_async: bool,
    provider: CusFakeProvider,
    recorder: CusRecordingReporter,
) -> None:
    case = replace(CASES[name], mood=mood)
    options, fails = MOODS[mood]
    bare = tried(None, case, provider.url, is_async=is_async, **options)
    provider.attempts.clear()
    governed = tried(WAYS[way], case, provider.url, is_async=is_async, **options)
    assert governed.seen == bare.seen
    (row,) = recorder.rows
    assert row["latency_ms"] <= governed.elapsed_ms + 1
    if fails:
        error: Any = governed.seen[0]
        assert row["error_code"] == error.__name__
        assert "abcdef123456" not in row["error_message"]
        # Without an answer, the prompt may be billed; these ways alone see it.
        is_counted = mood == "silent" and way != "decorator"
        assert (row["tokens_in"] > 0, row["tokens_out"]) == (is_counted, 0)
        assert ("metadata" in row and row["metadata"].get("tokens_estimated")) == is_counted
    else:
        assert sum(provider.attempts.values()) == 3
        assert "error_code" not in row


@SYNC_AND_ASYNC
@pytest.mark.parametrize("name", ["chat stream", "responses stream", "messages stream"])
def test_a_stream_that_breaks_is_reported_with_its_error_and_what_is_known(
    name: str, is_async: bool, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    case = replace(CASES[name], mood="broken")
    bare = tried(None, case, provider.url, is_async=is_async)
    governed = tried(WAYS["middleware"], case, provider.url, is_async=is_async)
    assert governed.seen == bare.seen
    (row,) = recorder.rows
    assert row["error_code"] == governed.seen[0].__name__
    assert row["metadata"]["tokens_estimated"] is True
    assert row["tokens_in"] > 0
    if case.provider == "anthropic":
        assert row["tokens_in"] == 1_000


def test_latency_is_that_of_a_clock_around_the_call(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    case: Case = replace(CASES["chat stream"], mood="slow")
    differences = []
    for _ in range(10):  # the machine may be busy elsewhere at any one of them
        outcome = tried(WAYS["middleware"], case, provider.url, is_async=False)
        difference = outcome.elapsed_ms - recorder.rows[-1]["latency_ms"]
        assert difference > -1
        differences.append(difference)
    assert min(differences) <= 5
    assert recorder.rows[-1]["latency_ms"] >= 100
