"""Calls to try, each by any way of capture, with and without it."""

import asyncio
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import anthropic
import openai
from anthropic.resources.messages.messages import DEPRECATED_MODELS

from aos_sdk import (
    CusAnthropicProvider,
    CusOpenAIProvider,
    CusReporter,
    CusUsageRecord,
    count_message_tokens,
    count_tokens,
    cus_install_middleware,
    cus_telemetry,
    cus_track,
    cus_uninstall_middleware,
    cus_wrap,
)
from aos_sdk.cus_delivery.codec import decode_record, encode_call
from aos_sdk.cus_delivery.ended_call import CusEndedCall
from tests.sdk.cus_fake_providers import TEXT
from tests.sdk.cus_provider_http import anthropic_http, openai_http

MESSAGES: Final[Any] = [{"role": "user", "content": "a very private prompt"}]
# The package warns of such a model; each release has a list of its own.
DEPRECATED_MODEL: Final[str] = next(iter(DEPRECATED_MODELS))
CHAT: Final[dict[str, Any]] = {"model": "gpt-4o", "messages": MESSAGES}
INPUT: Final[dict[str, Any]] = {"model": "gpt-4o", "input": "a very private prompt"}
MESSAGE: Final[dict[str, Any]] = {
    "model": "claude-sonnet-4",
    "messages": MESSAGES,
    "max_tokens": 900,
}


class CusRecordingReporter(CusReporter):
    """Keeps what it is handed, as the wire would have it, and sends nothing."""

    def __init__(self) -> None:
        super().__init__("tenant-1:integration-1:aosk_verysecretindeed", "http://127.0.0.1:1")
        self.rows: list[dict[str, Any]] = []

    @property
    def row(self) -> dict[str, Any]:
        """The only row, of a program that met no fault of ours."""
        (row,) = self.rows
        assert self.stats.faults == 0
        return row

    def report(self, record: CusUsageRecord) -> None:
        self.rows.append(record.to_dict())

    def report_call(self, call: CusEndedCall) -> None:
        self.report(call.record())
        # As a ring has it, unless it has to make the record first; see `encode_call`.
        payload = encode_call(call)
        if payload and "cost_cents" in self.rows[-1]:
            assert decode_record(payload, "p", 1) == {
                **self.rows[-1],
                "process_id": "p",
                "sequence": 1,
            }


@dataclass(frozen=True)
class Case:
    """A method of a client by its dotted path, its arguments, and how what it returns is used."""

    provider: str
    path: str
    arguments: dict[str, Any]
    use: str = "whole"
    mood: str = ""
    expects: dict[str, Any] = field(default_factory=dict)

    def call(self, client: Any) -> Any:
        """Make the native call on the client."""
        return attrgetter(self.path)(client)(**self.all_arguments)

    def exists(self, client: Any) -> bool:
        """Whether the installed package has it: not all of their releases have all."""
        try:
            takes = inspect.signature(attrgetter(self.path)(client)).parameters
        except AttributeError:
            return False
        return self.arguments.keys() <= takes.keys()

    @property
    def all_arguments(self) -> dict[str, Any]:
        mood = f"/{self.mood}" if self.mood else ""
        return {**self.arguments, "model": self.arguments["model"] + mood}

    @property
    def is_stream(self) -> bool:
        return bool(self.arguments.get("stream")) or "helper" in self.use


def dumped(thing: Any) -> Any:
    """Type and content, to compare; a stream's events as they came over the wire."""
    if hasattr(thing, "to_dict"):
        return type(thing).__name__, thing.to_dict(warnings=False)
    return (type(thing).__name__, str(thing)) if isinstance(thing, str) else type(thing).__name__


def use(case: Case, returned: Any) -> list[Any]:
    """Use what a synchronous call returned, as a program would, and say what it saw."""
    seen = [type(returned).__name__]
    if case.use == "whole":
        return [*seen, dumped(returned)]
    if case.use == "stream":
        return [*seen, *map(dumped, returned)]
    if case.use == "helper":
        with returned as stream:
            return [*seen, type(stream).__name__, *map(dumped, stream), dumped(_final(stream))]
    if case.use == "raw":
        return [*seen, dumped(returned.parse())]
    if case.use == "raw stream":
        return [*seen, *map(dumped, returned.parse())]
    assert case.use == "streamed body"
    with returned as response:
        return [*seen, type(response).__name__, dumped(response.parse())]


async def use_later(case: Case, returned: Any) -> list[Any]:
    """The same of an asynchronous call."""
    if inspect.isawaitable(returned):
        returned = await returned
    seen = [type(returned).__name__]
    if case.use == "whole":
        return [*seen, dumped(returned)]
    if case.use == "stream":
        return [*seen, *[dumped(item) async for item in returned]]
    if case.use == "helper":
        async with returned as stream:
            events = [dumped(item) async for item in stream]
            return [*seen, type(stream).__name__, *events, dumped(await _final(stream))]
    if case.use in ("raw", "raw stream"):
        parsed = returned.parse()
        parsed = await parsed if inspect.isawaitable(parsed) else parsed
        if case.use == "raw":
            return [*seen, dumped(parsed)]
        return [*seen, *[dumped(item) async for item in parsed]]
    assert case.use == "streamed body"
    async with returned as response:
        return [*seen, type(response).__name__, dumped(await response.parse())]


def _final(stream: Any) -> Any:
    for name in ("get_final_completion", "get_final_response", "get_final_message"):
        if hasattr(stream, name):
            return getattr(stream, name)()
    raise AssertionError(stream)


_CHAT_ROW: Final = {
    "model": "gpt-4o",
    "provider": "openai",
    "operation": "chat",
    "tokens_in": 1_000,
    "tokens_out": 500,
}
_MESSAGE_ROW: Final = {
    **_CHAT_ROW,
    "model": "claude-sonnet-4",
    "provider": "anthropic",
    "tokens_cached": 200,
}


def _openai(path: str, arguments: Any, use: str = "whole", **expects: Any) -> Case:
    return Case("openai", path, arguments, use, expects={**_CHAT_ROW, **expects})


def _anthropic(path: str, arguments: Any, use: str = "whole") -> Case:
    return Case("anthropic", path, arguments, use, expects=_MESSAGE_ROW)


_ESTIMATED: Final = {
    "tokens_in": count_message_tokens(MESSAGES, "gpt-4o"),
    "tokens_out": count_tokens(TEXT, "gpt-4o"),
}
_STREAM: Final = {"stream": True}
_RESPONSES: Final = {"operation": "responses"}

_ALL: Final[dict[str, Case]] = {
    "chat": _openai("chat.completions.create", CHAT),
    "chat stream": _openai("chat.completions.create", {**CHAT, **_STREAM}, "stream", **_ESTIMATED),
    "chat stream with usage": _openai(
        "chat.completions.create",
        {**CHAT, **_STREAM, "stream_options": {"include_usage": True}},
        "stream",
    ),
    "chat helper": _openai("chat.completions.stream", CHAT, "helper", **_ESTIMATED),
    "chat parse": _openai("chat.completions.parse", CHAT),
    "beta chat parse": _openai("beta.chat.completions.parse", CHAT),
    "beta chat helper": _openai("beta.chat.completions.stream", CHAT, "helper", **_ESTIMATED),
    "chat raw": _openai("chat.completions.with_raw_response.create", CHAT, "raw"),
    "chat raw parse": _openai("chat.completions.with_raw_response.parse", CHAT, "raw"),
    "chat raw stream": _openai(
        "chat.completions.with_raw_response.create",
        {**CHAT, **_STREAM},
        "raw stream",
        **_ESTIMATED,
    ),
    "chat streamed body": _openai(
        "chat.completions.with_streaming_response.create", CHAT, "streamed body"
    ),
    "responses": _openai("responses.create", INPUT, **_RESPONSES),
    "responses stream": _openai("responses.create", {**INPUT, **_STREAM}, "stream", **_RESPONSES),
    "responses helper": _openai("responses.stream", INPUT, "helper", **_RESPONSES),
    "responses parse": _openai("responses.parse", INPUT, **_RESPONSES),
    "responses raw": _openai("responses.with_raw_response.create", INPUT, "raw", **_RESPONSES),
    "responses raw stream": _openai(
        "responses.with_raw_response.create", {**INPUT, **_STREAM}, "raw stream", **_RESPONSES
    ),
    "completions": _openai(
        "completions.create",
        {"model": "gpt-3.5-turbo-instruct", "prompt": "a very private prompt"},
        operation="completion",
        model="gpt-3.5-turbo-instruct",
    ),
    "embeddings": _openai(
        "embeddings.create",
        {"model": "text-embedding-3-small", "input": "a very private prompt"},
        operation="embedding",
        model="text-embedding-3-small",
        tokens_out=0,
    ),
    "images": _openai(
        "images.generate",
        {"model": "gpt-image-1", "prompt": "a very private prompt"},
        operation="image",
        model="gpt-image-1",
    ),
    "transcriptions": _openai(
        "audio.transcriptions.create",
        {"model": "whisper-1", "file": b"RIFF"},
        operation="audio",
        model="whisper-1",
        tokens_audio_in=1_000,
    ),
    "images stream": _openai(
        "images.generate",
        {"model": "gpt-image-1", "prompt": "a very private prompt", **_STREAM},
        "stream",
        operation="image",
        model="gpt-image-1",
    ),
    "transcriptions stream": _openai(
        "audio.transcriptions.create",
        {"model": "gpt-4o-transcribe", "file": b"RIFF", **_STREAM},
        "stream",
        operation="audio",
        model="gpt-4o-transcribe",
        tokens_audio_in=1_000,
    ),
    "translations": _openai(
        "audio.translations.create",
        {"model": "whisper-1", "file": b"RIFF"},
        operation="audio",
        model="whisper-1",
        tokens_in=0,
        tokens_out=0,
    ),
    "speech": _openai(
        "audio.speech.create",
        {"model": "tts-1", "voice": "alloy", "input": "a very private prompt"},
        operation="audio",
        model="tts-1",
        tokens_in=0,
        tokens_out=0,
    ),
    "messages": _anthropic("messages.create", MESSAGE),
    "messages stream": _anthropic("messages.create", {**MESSAGE, **_STREAM}, "stream"),
    "messages helper": _anthropic("messages.stream", MESSAGE, "helper"),
    "messages parse": _anthropic("messages.parse", MESSAGE),
    "messages raw": _anthropic("messages.with_raw_response.create", MESSAGE, "raw"),
    "messages raw stream": _anthropic(
        "messages.with_raw_response.create", {**MESSAGE, **_STREAM}, "raw stream"
    ),
    "messages streamed body": _anthropic(
        "messages.with_streaming_response.create", MESSAGE, "streamed body"
    ),
    "beta messages": _anthropic("beta.messages.create", MESSAGE),
    "beta messages helper": _anthropic("beta.messages.stream", MESSAGE, "helper"),
    "beta messages parse": _anthropic("beta.messages.parse", MESSAGE),
}
# Those that an adapter or a wrapper around the plain client can be asked for.
ADAPTED: Final = {
    "chat.completions.create": "chat_completions_create",
    "responses.create": "responses_create",
    "completions.create": "completions_create",
    "embeddings.create": "embeddings_create",
    "messages.create": "messages_create",
}


def client_of(case: Case, url: str, *, is_async: bool = False, **options: Any) -> Any:
    """The provider's own client for the fake provider."""
    if case.provider == "openai":
        kind: Any = openai.AsyncOpenAI if is_async else openai.OpenAI
        return kind(api_key="sk-test", base_url=f"{url}/v1", **options)
    kind = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    return kind(api_key="sk-test", base_url=url, **options)


def _installed() -> dict[str, Case]:
    """Those that exist. A client reads all authorities when it is made, so there is one of each."""
    url, (first, *_, last) = "http://127.0.0.1:1", _ALL.values()
    with client_of(first, url) as openais, client_of(last, url) as anthropics:
        clients = {first.provider: openais, last.provider: anthropics}
        return {name: case for name, case in _ALL.items() if case.exists(clients[case.provider])}


CASES: Final = _installed()
# What some supported release has, and the installed one has not.
ABSENT: Final = _ALL.keys() - CASES.keys()

Way = Callable[[Case, Any], Any]


def by_middleware(case: Case, client: Any) -> Any:
    """The patched client; the caller uninstalls."""
    cus_install_middleware()
    return case.call(client)


def by_adapter(case: Case, client: Any) -> Any:
    kind = CusOpenAIProvider if case.provider == "openai" else CusAnthropicProvider
    return getattr(kind(client=client), ADAPTED[case.path])(**case.all_arguments)


def by_wrapper(case: Case, client: Any) -> Any:
    return cus_wrap(
        lambda: case.call(client), model=case.arguments["model"], provider=case.provider
    )


def by_decorator(case: Case, client: Any) -> Any:
    @cus_telemetry(model=case.arguments["model"], provider=case.provider)
    def ask() -> Any:
        return case.call(client)

    return ask()


def by_block(case: Case, client: Any) -> Any:
    with cus_track(case.arguments["model"], provider=case.provider) as tracker:
        response = case.call(client)
        tracker.set_usage_from_response(response)
        return response


WAYS: Final[dict[str, Way]] = {
    "middleware": by_middleware,
    "adapter": by_adapter,
    "wrapper": by_wrapper,
    "decorator": by_decorator,
    "block": by_block,
}


ERRORS: Final = (
    openai.OpenAIError,
    anthropic.AnthropicError,
    openai_http.HTTPError,
    anthropic_http.HTTPError,
)


@dataclass
class Outcome:
    """What a program saw of a call, and how long it took by a monotonic clock around it."""

    seen: Any
    elapsed_ms: float


def tried(way: Way | None, case: Case, url: str, *, is_async: bool, **options: Any) -> Outcome:
    """Make the call by a way of capture, or by none, and use what it returns."""
    make = way or (lambda case, client: case.call(client))
    if is_async:
        return asyncio.run(_tried_later(make, case, url, **options))
    with client_of(case, url, **options) as client:
        began = time.monotonic()
        try:
            seen: Any = use(case, make(case, client))
        except ERRORS as error:
            seen = (type(error), str(error))
        finally:
            cus_uninstall_middleware()
        return Outcome(seen, (time.monotonic() - began) * 1_000)


async def _tried_later(make: Way, case: Case, url: str, **options: Any) -> Outcome:
    async with client_of(case, url, is_async=True, **options) as client:
        began = time.monotonic()
        try:
            seen: Any = await use_later(case, make(case, client))
        except ERRORS as error:
            seen = (type(error), str(error))
        finally:
            cus_uninstall_middleware()
        return Outcome(seen, (time.monotonic() - began) * 1_000)
