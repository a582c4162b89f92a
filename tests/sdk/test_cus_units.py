"""What is billed by the character, the image or the second, where no answer says the usage."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from aos_sdk import cus_install_middleware
from tests.sdk.cus_capture_cases import CusRecordingReporter
from tests.sdk.cus_provider_http import openai_http
from tests.sdk.cus_scripted_clients import openai_client, streamed, whole

WORDS = "Grüße, 世界"
SPEECH_USAGE = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
SPOKEN = [
    {"type": "speech.audio.delta", "audio": "UklGRg=="},
    {"type": "speech.audio.done", "usage": SPEECH_USAGE},
]


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter) -> None:
    cus_install_middleware(detect_bypass=False)


def _sound(_request: Any) -> Any:
    return openai_http.Response(200, content=b"ID3", headers={"content-type": "audio/mpeg"})


def _speak(reply: Any, model: str, **more: Any) -> Any:
    arguments: Any = {"model": model, "voice": "alloy", "input": WORDS, **more}
    return openai_client(reply).audio.speech.create(**arguments)


@pytest.mark.parametrize("model", ["tts-1", "tts-1-hd"])
def test_speech_is_billed_by_its_characters(model: str, recorder: CusRecordingReporter) -> None:
    assert _speak(_sound, model).content == b"ID3"

    (row,) = recorder.rows
    assert row["billed_units"] == {"characters": 9}
    assert row["cost_cents"] == 1
    assert "usage_known" not in row


def test_raw_speech_is_too(recorder: CusRecordingReporter) -> None:
    speech = openai_client(_sound).audio.speech
    speech.with_raw_response.create(model="tts-1", voice="alloy", input=WORDS)
    with speech.with_streaming_response.create(model="tts-1", voice="alloy", input=WORDS) as body:
        assert b"".join(body.iter_bytes()) == b"ID3"
    assert [row["billed_units"] for row in recorder.rows] == [{"characters": 9}] * 2


def test_speech_by_tokens_is_unknown_without_events(recorder: CusRecordingReporter) -> None:
    _speak(_sound, "gpt-4o-mini-tts")

    (row,) = recorder.rows
    assert row["usage_known"] is False
    assert not {"billed_units", "cost_cents"} & row.keys()


def test_speech_by_tokens_is_known_by_its_last_event(recorder: CusRecordingReporter) -> None:
    def here(request: Any) -> Any:
        response = streamed(openai_http, SPOKEN)(request)
        return openai_http.Response(200, content=response.read(), headers=response.headers)

    more = {"extra_body": {"stream_format": "sse"}}  # the oldest releases have no such argument
    assert b"speech.audio.done" in _speak(here, "gpt-4o-mini-tts", **more).content

    (row,) = recorder.rows
    assert (row["tokens_in"], row["tokens_out"]) == (14, 101)
    assert "usage_known" not in row


def test_a_streamed_body_of_speech_events_is_known_too(recorder: CusRecordingReporter) -> None:
    speech = openai_client(streamed(openai_http, SPOKEN)).audio.speech
    arguments: Any = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": WORDS}
    with speech.with_streaming_response.create(**arguments) as body:
        assert b"done" in b"".join(body.iter_bytes())
    assert [row["tokens_out"] for row in recorder.rows] == [101]


def test_speech_that_is_refused_costs_nothing(recorder: CusRecordingReporter) -> None:
    with pytest.raises(Exception, match="400"):
        _speak(whole(openai_http, {"error": {}}, status=400), "tts-1")
    (row,) = recorder.rows
    assert "billed_units" not in row


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3"])
def test_images_of_models_that_bill_by_the_image_are_counted(
    model: str, recorder: CusRecordingReporter
) -> None:
    answer = {"created": 1, "data": [{"url": "https://x.example"}, {"url": "https://y.example"}]}
    client = openai_client(whole(openai_http, answer))
    client.images.generate(model=model, prompt="a private fox", n=2)

    (row,) = recorder.rows
    assert row["billed_units"] == {"images": 2}
    assert "usage_known" not in row


@pytest.mark.parametrize(
    "arguments",
    [{}, {"model": "gpt-image-1"}, {"model": "dall-e-3"}],
    ids=["no model", "a model by tokens", "no images in the answer"],
)
def test_images_are_unknown_where_nothing_says_what_they_are_billed_by(
    arguments: Mapping[str, str], recorder: CusRecordingReporter
) -> None:
    data = [] if arguments.get("model") == "dall-e-3" else [{"url": "https://x.example"}]
    client = openai_client(whole(openai_http, {"created": 1, "data": data}))
    client.images.generate(prompt="a private fox", **arguments)
    assert [row["usage_known"] for row in recorder.rows] == [False]


@pytest.mark.parametrize("duration", [8.4, "8.4"])
def test_a_transcript_that_says_how_long_it_is_is_billed_by_the_second(
    duration: float | str, recorder: CusRecordingReporter
) -> None:
    answer = {"text": "private", "duration": duration, "language": "english", "task": "transcribe"}
    _transcribe(whole(openai_http, answer), "verbose_json")

    (row,) = recorder.rows
    assert row["billed_units"] == {"seconds": 8}
    assert row["cost_cents"] == 1


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_a_transcript_as_text_is_unknown(form: str, recorder: CusRecordingReporter) -> None:
    def text(_request: Any) -> Any:
        headers = {"content-type": "text/plain"}
        return openai_http.Response(200, content=json.dumps("private"), headers=headers)

    _transcribe(text, form)

    (row,) = recorder.rows
    assert row["usage_known"] is False
    assert "private" not in str(row)


def _transcribe(reply: Any, form: str) -> None:
    client = openai_client(reply)
    arguments: Any = {"model": "whisper-1", "file": ("a.mp3", b"ID3"), "response_format": form}
    client.audio.transcriptions.create(**arguments)
