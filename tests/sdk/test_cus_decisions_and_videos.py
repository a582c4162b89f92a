"""Decisions, which tell their tokens, and videos, which are billed by their seconds."""

import asyncio
from typing import Any

import openai
import pytest

from aos_sdk import cus_install_middleware, cus_uninstall_middleware
from tests.sdk.cus_capture_cases import CusRecordingReporter
from tests.sdk.cus_provider_http import openai_http
from tests.sdk.cus_scripted_clients import async_openai_client, openai_client, whole

# Of the newest releases, about videos: OpenAI has announced their end.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
needs_decisions = pytest.mark.skipif(
    not hasattr(openai.OpenAI, "decisions"), reason="this release makes no decisions"
)
needs_videos = pytest.mark.skipif(
    not hasattr(openai.OpenAI, "videos"), reason="this release makes no videos"
)
DECISION: dict[str, Any] = {
    "model": "gpt-6-luna",
    "answers": [{"type": "predicate", "probability": 0.9}],
    "usage": {
        "input_tokens": 1_000,
        "input_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 1_020,
    },
}
ASKED: dict[str, Any] = {"model": "gpt-6-luna", "input": "private", "questions": []}


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter) -> None:
    cus_install_middleware(detect_bypass=False)


def _decided(view: str) -> Any:
    client = openai_client(whole(openai_http, DECISION))
    if view == "raw":
        return client.decisions.with_raw_response.create(**ASKED).parse()
    if view == "body":
        with client.decisions.with_streaming_response.create(**ASKED) as response:
            return response.parse()
    if view == "later":
        later = async_openai_client(whole(openai_http, DECISION))
        return asyncio.run(later.decisions.create(**ASKED))
    return client.decisions.create(**ASKED)


@needs_decisions
@pytest.mark.parametrize("view", ["whole", "raw", "body", "later"])
def test_a_decision_is_a_call_with_its_tokens(view: str, recorder: CusRecordingReporter) -> None:
    decision = _decided(view)

    assert decision.usage.total_tokens == 1_020
    (row,) = recorder.rows
    assert (row["model"], row["provider"]) == ("gpt-6-luna", "openai")
    assert (row["tokens_in"], row["tokens_cached"], row["tokens_reasoning"]) == (1_000, 300, 5)
    assert row["cost_cents"] >= 1
    assert "private" not in str(row)
    assert recorder.stats.faults == 0


def _video(**fields: Any) -> dict[str, Any]:
    head = {"id": "video_1", "object": "video", "created_at": 1, "status": "queued", "progress": 0}
    return {**head, "model": "sora-2", "seconds": "8", "size": "1280x720", **fields}


def _videos(document: Any) -> Any:
    return openai_client(whole(openai_http, document)).videos


@needs_videos
def test_a_video_is_billed_by_its_seconds(recorder: CusRecordingReporter) -> None:
    video = _videos(_video()).create(prompt="private")

    assert type(video).__name__ == "Video"
    (row,) = recorder.rows
    assert (row["model"], row["response_id"]) == ("sora-2", "video_1")
    assert (row["billed_units"], row["cost_cents"]) == ({"seconds": 8}, 80)
    assert "usage_known" not in row
    assert "private" not in str(row)


@needs_videos
@pytest.mark.parametrize(
    ("size", "units", "cents"),
    [
        ("720x1280", {"seconds": 8}, 240),
        ("1024x1792", {"seconds_1024": 8}, 400),
        ("1920x1080", {"seconds_1080": 8}, 0),
    ],
)
def test_a_larger_video_has_a_price_of_its_own(
    size: str, units: Any, cents: int, recorder: CusRecordingReporter
) -> None:
    _videos(_video(model="sora-2-pro", size=size)).create(prompt="x", model="sora-2-pro", size=size)

    (row,) = recorder.rows
    assert (row["billed_units"], row.get("cost_cents", 0)) == (units, cents)


@needs_videos
def test_an_asynchronous_and_a_raw_video_are_calls_too(recorder: CusRecordingReporter) -> None:
    asyncio.run(
        async_openai_client(whole(openai_http, _video())).videos.create(prompt="x", seconds="8")
    )
    _videos(_video()).with_raw_response.create(prompt="x")
    _videos(_video()).remix("video_0", prompt="x")

    assert [row["billed_units"] for row in recorder.rows] == [{"seconds": 8}] * 3


@pytest.mark.skipif(
    not hasattr(getattr(openai.resources, "Videos", None), "extend"),
    reason="this release extends no videos",
)
def test_an_extension_is_billed_by_its_own_seconds(recorder: CusRecordingReporter) -> None:
    whole_length = _video(seconds="20")
    _videos(whole_length).extend(prompt="x", seconds="12", video=b"x")
    _videos(whole_length).edit(prompt="x", video=b"x")

    assert [row["billed_units"] for row in recorder.rows] == [{"seconds": 12}, {"seconds": 20}]


@needs_videos
def test_an_answer_that_names_no_length_is_of_unknown_usage(
    recorder: CusRecordingReporter,
) -> None:
    _videos(_video(seconds=None, size=None)).create(prompt="x")

    (row,) = recorder.rows
    assert row["usage_known"] is False


@needs_videos
def test_polling_and_downloading_are_no_calls(recorder: CusRecordingReporter) -> None:
    _videos(_video(status="completed")).create_and_poll(prompt="x")
    _videos(_video(status="completed")).download_content("video_1")

    assert len(recorder.rows) == 1


@needs_videos
def test_uninstalled_the_methods_are_the_packages_own(recorder: CusRecordingReporter) -> None:
    videos = type(_videos(_video()))
    governed = videos.create
    cus_uninstall_middleware()
    assert videos.create is governed.__wrapped__
