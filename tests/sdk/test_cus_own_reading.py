"""A program that reads a stream's response itself sees what it would see without the SDK."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import openai
import pytest

from aos_sdk import cus_install_middleware, cus_uninstall_middleware
from aos_sdk.cus_capture.own_reading import _Shown
from tests.sdk.cus_capture_cases import CHAT, CusRecordingReporter
from tests.sdk.cus_provider_http import openai_http

_BASE = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
_USAGE = {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}
# Texts that look like what is to be hidden.
_WORDS = ["The ", '"usage":null,', ',"usage": null', "fox "]


def _body(request: Any) -> bytes:
    """As OpenAI answers: if usage is asked for, every chunk has a member for it."""
    options = json.loads(request.content).get("stream_options") or {}
    asked = {"usage": None} if options.get("include_usage") else {}
    events = [
        {**_BASE, "choices": [{"index": 0, "delta": {"content": word}}], **asked} for word in _WORDS
    ]
    if asked:
        events.append({**_BASE, "choices": [], "usage": _USAGE})
    lines = [json.dumps(event, separators=(",", ":")) for event in events]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


class _Chunks(openai_http.SyncByteStream, openai_http.AsyncByteStream):  # type: ignore[misc]  # Any
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


def _chunks(body: bytes, how: str) -> list[bytes]:
    if how == "by events":
        return [event + b"\n\n" for event in body.split(b"\n\n")[:-1]]
    size = 7 if how == "in pieces" else len(body)
    return [body[start : start + size] for start in range(0, len(body), size)]


def _transport(how: str = "by events", newline: bytes = b"\n") -> Any:
    def answer(request: Any) -> Any:
        headers = {"content-type": "text/event-stream"}
        chunks = _chunks(_body(request), how)
        chunks = [chunk.replace(b"\n", newline) for chunk in chunks]
        if how == "compressed":
            headers["content-encoding"] = "gzip"
            chunks = [gzip.compress(chunk) for chunk in chunks]
        return openai_http.Response(200, headers=headers, stream=_Chunks(chunks))

    return openai_http.MockTransport(answer)


def _client(transport: Any) -> openai.OpenAI:
    client = openai_http.Client(transport=transport)
    return openai.OpenAI(api_key="k", http_client=client)


def _read(stream: Any, how: str, size: int | None = None) -> list[Any]:
    if how == "read":
        return [stream.response.read(), stream.response.text]
    method = getattr(stream.response, how)
    return list(method() if size is None else method(size))


def _seen(how: str, transport: Any, size: int | None = None, **options: Any) -> list[Any]:
    with _client(transport) as client:
        stream = client.chat.completions.create(**CHAT, stream=True, **options)
        return _read(stream, how, size)


async def _seen_later(how: str, transport: Any) -> list[Any]:
    client = openai_http.AsyncClient(transport=transport)
    async with openai.AsyncOpenAI(api_key="k", http_client=client) as made:
        stream = await made.chat.completions.create(**CHAT, stream=True)
        if how == "read":
            return [await stream.response.aread(), stream.response.text]
        return [part async for part in getattr(stream.response, f"a{how}")()]


def _bare_and_governed(see: Callable[[], list[Any]]) -> tuple[list[Any], list[Any]]:
    bare = see()
    cus_install_middleware()
    governed = see()
    cus_uninstall_middleware()
    return bare, governed


def _is_reported(recorder: CusRecordingReporter) -> None:
    (row,) = recorder.rows
    assert (row["tokens_in"], row["tokens_out"], row["stream"]) == (1_000, 500, True)
    assert "abandoned" not in row["metadata"]
    assert "tokens_estimated" not in row["metadata"]


@pytest.mark.parametrize("how", ["iter_lines", "iter_text", "iter_bytes", "iter_raw", "read"])
@pytest.mark.parametrize("chunks", ["by events", "in pieces", "at once"])
def test_a_response_shows_no_usage_that_nobody_asked_for(
    how: str, chunks: str, recorder: CusRecordingReporter
) -> None:
    bare, governed = _bare_and_governed(lambda: _seen(how, _transport(chunks)))
    if chunks == "in pieces" and how not in ("iter_lines", "read"):
        # An event is shown once it is whole.
        bare, governed = [type(bare[0])().join(bare)], [type(bare[0])().join(governed)]
    assert governed == bare
    _is_reported(recorder)


@pytest.mark.parametrize("how", ["iter_lines", "iter_text", "iter_bytes", "iter_raw", "read"])
def test_an_asynchronous_response_shows_none_either(
    how: str, recorder: CusRecordingReporter
) -> None:
    transport = _transport()
    bare, governed = _bare_and_governed(lambda: asyncio.run(_seen_later(how, transport)))
    assert governed == bare
    _is_reported(recorder)


@pytest.mark.parametrize("how", ["iter_lines", "iter_text", "iter_bytes", "read"])
def test_nor_does_a_compressed_response(how: str, recorder: CusRecordingReporter) -> None:
    bare, governed = _bare_and_governed(lambda: _seen(how, _transport("compressed")))
    assert governed == bare
    _is_reported(recorder)


@pytest.mark.parametrize("how", ["iter_bytes", "iter_raw"])
def test_chunks_have_the_size_that_was_asked_for(how: str, recorder: CusRecordingReporter) -> None:
    bare, governed = _bare_and_governed(lambda: _seen(how, _transport(), 11))
    assert governed == bare


@pytest.mark.parametrize("how", ["iter_lines", "iter_raw"])
def test_what_the_program_asked_for_itself_is_shown(
    how: str, recorder: CusRecordingReporter
) -> None:
    asked: Any = {"stream_options": {"include_usage": True}}
    bare, governed = _bare_and_governed(lambda: _seen(how, _transport(), **asked))
    assert governed == bare
    assert "prompt_tokens" in str(governed)
    _is_reported(recorder)


@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
def test_events_are_told_apart_by_any_kind_of_line_end(
    newline: bytes, recorder: CusRecordingReporter
) -> None:
    bare, governed = _bare_and_governed(lambda: _seen("read", _transport(newline=newline)))
    assert governed == bare


def test_a_response_that_is_left_is_reported_with_what_has_passed(
    recorder: CusRecordingReporter,
) -> None:
    cus_install_middleware()
    with _client(_transport()) as client:
        stream = client.chat.completions.create(**CHAT, stream=True)
        for line in stream.response.iter_lines():
            if "fox" in line:
                break
        stream.close()
    (row,) = recorder.rows
    assert row["metadata"].items() >= {"abandoned": True, "tokens_estimated": True}.items()
    assert row["tokens_out"] > 5


def test_a_stream_is_read_as_ever_and_then_its_response_is_consumed(
    recorder: CusRecordingReporter,
) -> None:
    cus_install_middleware()
    with _client(_transport()) as client:
        stream = client.chat.completions.create(**CHAT, stream=True)
        assert [chunk.choices[0].delta.content for chunk in stream] == _WORDS
        with pytest.raises(openai_http.StreamConsumed):
            list(stream.response.iter_lines())
    _is_reported(recorder)


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("how", ["parse", "iter_lines", "iter_bytes", "iter_raw", "read"])
def test_a_raw_stream_is_read_on_its_way_and_nothing_is_changed(
    how: str, recorder: CusRecordingReporter, *, asked: bool
) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}

    def see() -> list[Any]:
        with _client(_transport()) as client:
            raw = client.chat.completions.with_raw_response.create(**CHAT, stream=True, **options)
            if how == "parse":
                return [chunk.to_dict() for chunk in raw.parse()]
            if how == "read":
                return [raw.http_response.read()]
            return list(getattr(raw.http_response, how)())

    bare, governed = _bare_and_governed(see)
    assert governed == bare
    (row,) = recorder.rows
    if asked:
        _is_reported(recorder)
    else:
        assert row["metadata"]["tokens_estimated"] is True
        assert row["tokens_out"] > 5, "the answer was counted"


def test_an_event_of_another_form_stays_as_it_is() -> None:
    events = [
        b'data: {"choices":[{"x":1}],"usage":{"total_tokens":1}}\n\n',
        b'data: ["usage"]\n\n',
        b'data: {"usage"\n\n',
        b": a comment about usage\n\n",
        b'data: {"a":{"usage":null}}',
    ]
    shown = _Shown(None)
    seen = [part for event in events for part in shown.after(event)] + shown.at_the_end()
    assert seen == events


@pytest.mark.parametrize("nested", ['{"x":1,"usage":null}', '{"usage":null,"x":1}', "{}"])
def test_only_the_bodys_own_usage_is_taken_out(nested: str) -> None:
    seen = _Shown(None).after(f'data: {{"a":[{nested}],"usage":null,"z":1}}\n\n'.encode())
    assert seen == [f'data: {{"a":[{nested}],"z":1}}\n\n'.encode()]
