"""Usage from every shape of response that the providers' packages define (§12.3, M4, M8).

Each response is built by the package's own type, with the sum that the provider would bill for it
(in microcents, worked out by hand from its price page).
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, get_args

import anthropic.types as at
import anthropic.types.beta as ab
import openai.types as ot
import openai.types.audio as oa
import openai.types.chat as oc
import openai.types.responses as orr
import pytest
from anthropic.lib.streaming import MessageStopEvent
from anthropic.types.messages import MessageBatchIndividualResponse
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChunkEvent
from openai.types.beta import BetaResponse
from openai.types.beta.assistant_stream_event import ThreadRunCompleted, ThreadRunCreated
from openai.types.decision import Decision
from openai.types.realtime import RealtimeResponse

from aos_sdk import (
    CusReportedUsage,
    CusStreamUsage,
    CusTokenUsage,
    cus_usage,
    extract_anthropic_usage,
    extract_openai_usage,
    extract_token_usage,
    extract_usage,
    price_call,
)

# Type, model, JSON, the tokens expected (others 0), units, tier, microcents.
Shape = tuple[Any, str, dict[str, Any], dict[str, Any], dict[str, int] | None, str | None, int]


def _openai_usage(**details: Any) -> dict[str, Any]:
    return {"input_tokens": 1_000, "output_tokens": 500, "total_tokens": 1_500, **details}


CHAT_USAGE = {
    "prompt_tokens": 1_000,
    "completion_tokens": 500,
    "total_tokens": 1_500,
    "prompt_tokens_details": {"cached_tokens": 600, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 200, "rejected_prediction_tokens": 10},
}
CHAT_TOKENS = {
    "tokens_in": 1_000,
    "tokens_out": 500,
    "tokens_cached": 600,
    "tokens_reasoning": 200,
    "tokens_total": 1_500,
}
RESPONSE_USAGE = _openai_usage(
    input_tokens_details={
        "cached_tokens": 300,
        "cache_write_tokens": 200,
        "cache_write_tokens_details": {"ttl_12h_tokens": 50, "ttl_30m_tokens": 150},
    },
    output_tokens_details={"reasoning_tokens": 400},
)
RESPONSE_TOKENS = {
    "tokens_in": 1_000,
    "tokens_out": 500,
    "tokens_cached": 300,
    "tokens_cache_write": 200,
    "tokens_cache_write_1h": 50,
    "tokens_reasoning": 400,
    "tokens_total": 1_500,
}
# 500 plain, 300 cached, 150 + 50 written, 500 out, at gpt-6.1-terra's $1 (0.05, 1.25, 2.50), $5.
RESPONSE_COST = 500 * 100 + 300 * 5 + 150 * 125 + 50 * 250 + 500 * 500
IMAGE_USAGE = _openai_usage(
    input_tokens_details={"image_tokens": 800, "text_tokens": 200},
    output_tokens_details={"image_tokens": 450, "text_tokens": 50},
)
MESSAGE_USAGE = {
    "input_tokens": 100,
    "output_tokens": 500,
    "cache_read_input_tokens": 600,
    "cache_creation_input_tokens": 300,
    "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
    "output_tokens_details": {"thinking_tokens": 120},
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    "service_tier": "standard",
}
MESSAGE_TOKENS = {
    "tokens_in": 1_000,
    "tokens_out": 500,
    "tokens_cached": 600,
    "tokens_cache_write": 300,
    "tokens_cache_write_1h": 100,
    "tokens_reasoning": 120,
}
# claude-sonnet-4: $3, read 0.30, written 3.75 and 6, out $15.
MESSAGE_COST = 100 * 300 + 600 * 30 + 200 * 375 + 100 * 600 + 500 * 1_500
SEARCH_COST = 1_000_000  # $10 a thousand
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "content": []}
WRITTEN = {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}


def _chat(model: str, usage: Any, **more: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion", "model": model, "usage": usage, **more}


def _response(model: str, **more: Any) -> dict[str, Any]:
    return {"id": "r", "object": "response", "model": model, "output": [], **more}


SHAPES: dict[str, Shape] = {
    "chat completion": (
        oc.ChatCompletion,
        "gpt-5",
        _chat("gpt-5", CHAT_USAGE, service_tier="default"),
        CHAT_TOKENS,
        None,
        "default",
        400 * 125 + 600 * 125 // 10 + 500 * 1_000,
    ),
    "chat completion on the flex tier": (
        oc.ChatCompletion,
        "gpt-5",
        _chat("gpt-5", CHAT_USAGE, service_tier="flex"),
        CHAT_TOKENS,
        None,
        "flex",
        (400 * 125 + 600 * 125 // 10 + 500 * 1_000) // 2,
    ),
    "chat completion with audio": (
        oc.ChatCompletion,
        "gpt-audio",
        _chat(
            "gpt-audio",
            {
                "prompt_tokens": 1_000,
                "completion_tokens": 500,
                "total_tokens": 1_500,
                "prompt_tokens_details": {"audio_tokens": 700, "text_tokens": 300},
                "completion_tokens_details": {"audio_tokens": 400, "text_tokens": 100},
            },
        ),
        {
            "tokens_in": 1_000,
            "tokens_out": 500,
            "tokens_audio_in": 700,
            "tokens_audio_out": 400,
            "tokens_total": 1_500,
        },
        None,
        None,
        300 * 250 + 700 * 3_200 + 100 * 1_000 + 400 * 6_400,
    ),
    "last chunk of a chat completion": (
        oc.ChatCompletionChunk,
        "gpt-5",
        {**_chat("gpt-5", CHAT_USAGE), "object": "chat.completion.chunk", "choices": []},
        CHAT_TOKENS,
        None,
        None,
        400 * 125 + 600 * 125 // 10 + 500 * 1_000,
    ),
    "completion": (
        ot.Completion,
        "gpt-3.5-turbo-instruct",
        _chat("x", {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}),
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_total": 1_500},
        None,
        None,
        1_000 * 150 + 500 * 200,
    ),
    "embedding": (
        ot.CreateEmbeddingResponse,
        "text-embedding-3-small",
        {"data": [], "object": "list", "usage": {"prompt_tokens": 1_000, "total_tokens": 1_000}},
        {"tokens_in": 1_000, "tokens_total": 1_000},
        None,
        None,
        1_000 * 2,
    ),
    "response": (
        orr.Response,
        "gpt-6.1-terra",
        _response("gpt-6.1-terra", usage=RESPONSE_USAGE, service_tier="default"),
        RESPONSE_TOKENS,
        None,
        "default",
        RESPONSE_COST,
    ),
    "response with hosted tools": (
        orr.Response,
        "gpt-6.1-terra",
        _response(
            "gpt-6.1-terra",
            usage=RESPONSE_USAGE,
            output=[
                {"type": "file_search_call", "id": "f", "queries": [], "status": "completed"},
                {"type": "message", "id": "m", "content": [], "role": "assistant"},
                {"type": "image_generation_call", "id": "i", "svg_usage": {"total_tokens": 9}},
            ],
            tool_usage={
                "web_search": {"num_requests": 3},
                "image_gen": {**IMAGE_USAGE, "total_tokens": 77},
            },
            tools=[{"type": "web_search"}],
        ),
        RESPONSE_TOKENS,
        {"searches": 3, "file_searches": 1, "image_tool_tokens": 77, "svg_tokens": 9},
        None,
        RESPONSE_COST + 3 * SEARCH_COST + SEARCH_COST // 4,
    ),
    "response of an older API that only lists its searches": (
        orr.Response,
        "gpt-6.1-terra",
        _response(
            "gpt-6.1-terra",
            usage=RESPONSE_USAGE,
            output=[
                {"type": "web_search_call", "id": "1", "action": {"type": "search"}},
                {"type": "web_search_call", "id": "2", "action": {"type": "open_page"}},
            ],
        ),
        RESPONSE_TOKENS,
        {"searches": 1},
        None,
        RESPONSE_COST + SEARCH_COST,
    ),
    "last event of a response": (
        orr.ResponseCompletedEvent,
        "gpt-6.1-terra",
        {
            "type": "response.completed",
            "response": _response("x", usage=RESPONSE_USAGE, service_tier="priority"),
        },
        RESPONSE_TOKENS,
        None,
        "priority",
        RESPONSE_COST * 2,
    ),
    "response that broke off": (
        orr.ResponseIncompleteEvent,
        "gpt-6.1-terra",
        {"type": "response.incomplete", "response": _response("x", usage=RESPONSE_USAGE)},
        RESPONSE_TOKENS,
        None,
        None,
        RESPONSE_COST,
    ),
    "compacted response": (
        orr.CompactedResponse,
        "gpt-6.1-terra",
        {"object": "response.compaction", "usage": RESPONSE_USAGE},
        RESPONSE_TOKENS,
        None,
        None,
        RESPONSE_COST,
    ),
    "beta response": (
        BetaResponse,
        "gpt-6.1-terra",
        _response("x", usage=RESPONSE_USAGE),
        RESPONSE_TOKENS,
        None,
        None,
        RESPONSE_COST,
    ),
    "decision": (
        Decision,
        "gpt-6.1-terra",
        {"usage": RESPONSE_USAGE},
        RESPONSE_TOKENS,
        None,
        None,
        RESPONSE_COST,
    ),
    "realtime response": (
        RealtimeResponse,
        "gpt-realtime",
        {
            "object": "realtime.response",
            "usage": _openai_usage(
                input_token_details={
                    "audio_tokens": 600,
                    "text_tokens": 400,
                    "cached_tokens": 500,
                    "cached_tokens_details": {"audio_tokens": 300, "text_tokens": 200},
                },
                output_token_details={"audio_tokens": 450, "text_tokens": 50},
            ),
        },
        {
            "tokens_in": 1_000,
            "tokens_out": 500,
            "tokens_cached": 500,
            "tokens_audio_in": 300,
            "tokens_audio_out": 450,
            "tokens_total": 1_500,
        },
        None,
        None,
        200 * 400 + 500 * 40 + 300 * 3_200 + 50 * 1_600 + 450 * 6_400,
    ),
    "finished batch": (
        ot.Batch,
        "gpt-5",
        {
            "object": "batch",
            "usage": _openai_usage(
                input_tokens_details={"cached_tokens": 0},
                output_tokens_details={"reasoning_tokens": 0},
            ),
        },
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_total": 1_500},
        None,
        "batch",
        (1_000 * 125 + 500 * 1_000) // 2,
    ),
    "transcription billed by tokens": (
        oa.Transcription,
        "gpt-4o-transcribe",
        {
            "text": "x",
            "usage": _openai_usage(
                type="tokens", input_token_details={"audio_tokens": 900, "text_tokens": 100}
            ),
        },
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_audio_in": 900, "tokens_total": 1_500},
        None,
        None,
        100 * 250 + 900 * 600 + 500 * 1_000,
    ),
    "transcription billed by the second": (
        oa.Transcription,
        "whisper-1",
        {"text": "x", "usage": {"type": "duration", "seconds": 59.6}},
        {},
        {"seconds": 60},
        None,
        600_000,
    ),
    "verbose transcription": (
        oa.TranscriptionVerbose,
        "whisper-1",
        {"text": "x", "usage": {"type": "duration", "seconds": 30.0}},
        {},
        {"seconds": 30},
        None,
        300_000,
    ),
    "diarized transcription": (
        oa.TranscriptionDiarized,
        "gpt-4o-transcribe-diarize",
        {"text": "x", "usage": {"type": "duration", "seconds": 10}},
        {},
        {"seconds": 10},
        None,
        100_000,
    ),
    "last event of a transcription": (
        oa.TranscriptionTextDoneEvent,
        "gpt-4o-transcribe",
        {
            "type": "transcript.text.done",
            "usage": _openai_usage(type="tokens", input_token_details={"audio_tokens": 1_000}),
        },
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_audio_in": 1_000, "tokens_total": 1_500},
        None,
        None,
        1_000 * 600 + 500 * 1_000,
    ),
    "images": (
        ot.ImagesResponse,
        "gpt-image-1.5",
        {"created": 1, "usage": IMAGE_USAGE, "svg_usage": {"total_tokens": 40}},
        {
            "tokens_in": 1_000,
            "tokens_out": 500,
            "tokens_reasoning": 50,
            "tokens_image_in": 800,
            "tokens_total": 1_500,
        },
        {"svg_tokens": 40},
        None,
        200 * 500 + 800 * 800 + 450 * 3_200 + 50 * 1_000,
    ),
    "last event of an image": (
        ot.ImageGenCompletedEvent,
        "gpt-image-1",
        {
            "type": "image_generation.completed",
            "usage": _openai_usage(input_tokens_details={"image_tokens": 0, "text_tokens": 1_000}),
        },
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_total": 1_500},
        None,
        None,
        1_000 * 500 + 500 * 4_000,
    ),
    "last event of an edited image": (
        ot.ImageEditCompletedEvent,
        "gpt-image-1",
        {
            "type": "image_edit.completed",
            "usage": _openai_usage(input_tokens_details={"image_tokens": 900, "text_tokens": 100}),
        },
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_image_in": 900, "tokens_total": 1_500},
        None,
        None,
        100 * 500 + 900 * 1_000 + 500 * 4_000,
    ),
    "message": (
        at.Message,
        "claude-sonnet-4",
        {**MESSAGE, "usage": MESSAGE_USAGE},
        MESSAGE_TOKENS,
        {"searches": 2, "fetches": 1},
        "standard",
        MESSAGE_COST + 2 * SEARCH_COST,
    ),
    "message without a breakdown of its cache": (
        at.Message,
        "claude-sonnet-4",
        {**MESSAGE, "usage": {"input_tokens": 100, "output_tokens": 5, **WRITTEN}},
        {"tokens_in": 100, "tokens_out": 5},
        None,
        None,
        100 * 300 + 5 * 1_500,
    ),
    "message in fast mode in the US": (
        at.Message,
        "claude-opus-5",
        {
            **MESSAGE,
            "usage": {
                "input_tokens": 100,
                "output_tokens": 10,
                "speed": "fast",
                "inference_geo": "us",
                "service_tier": "standard",
            },
        },
        {"tokens_in": 100, "tokens_out": 10},
        None,
        "fast_us",
        (100 * 500 + 10 * 2_500) * 22 // 10,
    ),
    "line of a batch": (
        MessageBatchIndividualResponse,
        "claude-sonnet-4",
        {
            "custom_id": "1",
            "result": {
                "type": "succeeded",
                "message": {
                    **MESSAGE,
                    "usage": {"input_tokens": 100, "output_tokens": 10, "service_tier": "batch"},
                },
            },
        },
        {"tokens_in": 100, "tokens_out": 10},
        None,
        "batch",
        (100 * 300 + 10 * 1_500) // 2,
    ),
    "beta message with a compaction and an advisor": (
        ab.BetaMessage,
        "claude-sonnet-4",
        {
            **MESSAGE,
            "usage": {
                "input_tokens": 100,
                "output_tokens": 10,
                **WRITTEN,
                "iterations": [
                    {"type": "compaction", "input_tokens": 50, "output_tokens": 20, **WRITTEN},
                    {"type": "message", "input_tokens": 100, "output_tokens": 10, **WRITTEN},
                    {
                        "type": "advisor_message",
                        "model": "claude-opus-4-6",
                        "input_tokens": 7,
                        "output_tokens": 3,
                        **WRITTEN,
                    },
                ],
            },
        },
        {"tokens_in": 157, "tokens_out": 33},
        None,
        None,
        150 * 300 + 30 * 1_500 + 7 * 500 + 3 * 2_500,
    ),
    "start of a message": (
        at.RawMessageStartEvent,
        "claude-sonnet-4",
        {"type": "message_start", "message": {**MESSAGE, "usage": MESSAGE_USAGE}},
        MESSAGE_TOKENS,
        {"searches": 2, "fetches": 1},
        "standard",
        MESSAGE_COST + 2 * SEARCH_COST,
    ),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("as_json", [False, True], ids=["object", "json"])
def test_a_response_is_read_to_the_last_token_and_costs_what_the_provider_bills(
    shape: Shape, as_json: bool
) -> None:
    kind, model, data, tokens, units, tier, microcents = shape
    usage = extract_token_usage(data if as_json else _built(kind, data))
    assert usage.reported
    assert usage.tokens == CusTokenUsage(**tokens)
    assert (usage.billed_units, usage.service_tier) == (units, tier)
    priced = price_call(
        model, usage.tokens, service_tier=tier, billed_units=units, turns=usage.turns
    )
    assert priced is not None
    assert priced.cost_microcents == microcents


def _built(kind: Any, data: dict[str, Any]) -> Any:
    """An object of the package's type, made as the package makes it from an answer."""
    return kind.construct(**data)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_kinds_are_disjoint_and_add_up_to_the_providers_total(shape: Shape) -> None:
    usage = extract_token_usage(shape[2])
    media = usage.tokens_audio_in + usage.tokens_image_in
    assert usage.tokens_cached + usage.tokens_cache_write + media <= usage.tokens_in
    assert usage.tokens_reasoning + usage.tokens_audio_out <= usage.tokens_out
    assert usage.tokens_cache_write_1h <= usage.tokens_cache_write
    assert usage.tokens_total in (None, usage.tokens_in + usage.tokens_out)


# What carries `usage` in these packages and is no response to a call: reports of an organisation,
# and voice sessions that are billed by the minute.
NO_RESPONSES = {"BetaAnalyticsUsageItem", "SessionClosedEvent", "SessionUsageUpdatedEvent"}


def _types_with_usage() -> Iterator[tuple[str, Any, Any]]:
    """Every type of the installed packages that has a `usage`, with each type that it can be of."""
    for package in (ot, at):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for name, kind in vars(module).items():
                fields = getattr(kind, "model_fields", {})
                if "usage" in fields and kind.__module__ == found.name:
                    for usage in _models_in(fields["usage"].annotation):
                        yield f"{found.name}.{name}", kind, usage


def _models_in(annotation: Any) -> Iterator[Any]:
    if hasattr(annotation, "model_fields"):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def test_no_type_of_the_packages_that_carries_usage_is_left_unread() -> None:
    seen = 0
    for name, kind, usage in _types_with_usage():
        names = usage.model_fields.keys() & {"prompt_tokens", "input_tokens", "seconds"}
        if name.rsplit(".", 1)[-1] in NO_RESPONSES:
            continue
        said = dict.fromkeys(names, 100)
        if "total_tokens" in usage.model_fields:
            said["total_tokens"] = 100
        found = extract_token_usage(kind.construct(usage=usage.construct(**said)))
        assert found.reported, name
        assert found.tokens_in == 100 or found.billed_units == {"seconds": 100}, name
        seen += 1
    assert seen > 40


NOTHING = [
    None,
    {},
    {"usage": None},
    {"usage": {}},
    {"usage": "12"},
    {"usage": {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}},
    {"usage": {"input_tokens": None, "output_tokens": None}},
    [],
    "text",
    object(),
    SimpleNamespace(usage=None),
    oc.ChatCompletion.construct(**_chat("gpt-5", None)),
    ot.ModerationCreateResponse.construct(id="m", results=[]),
    oa.Translation.construct(text="x"),
    oa.TranscriptionTextDeltaEvent.construct(type="transcript.text.delta", delta="x"),
    ot.Batch.construct(object="batch", usage=None),
    at.MessageTokensCount.construct(input_tokens=12),
    at.RawMessageStopEvent.construct(type="message_stop"),
    orr.Response.construct(**_response("gpt-5", usage=None)),
]


@pytest.mark.parametrize("response", NOTHING)
@pytest.mark.parametrize("provider", [None, "openai", "anthropic", "bedrock"])
def test_a_response_without_usage_has_no_tokens_and_raises_nothing(
    response: Any, provider: str | None
) -> None:
    assert extract_token_usage(response, provider) == CusReportedUsage()
    assert extract_openai_usage(response) == extract_anthropic_usage(response) == (0, 0)


@pytest.mark.parametrize("bad", [-5, 1.5, "7", True, None, [], 2.0])
def test_absurd_numbers_count_nothing(bad: Any) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": bad, "prompt_tokens_details": bad}
    assert extract_openai_usage({"usage": usage}) == (10, 0)
    usage = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": bad}
    assert extract_anthropic_usage({"usage": usage}) == (10, 1)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), "9", None])
def test_absurd_durations_count_nothing(bad: Any) -> None:
    usage = extract_token_usage({"usage": {"type": "duration", "seconds": bad}})
    assert usage.billed_units is None


def test_audio_that_is_certainly_cached_is_not_counted_twice() -> None:
    details = {"cached_tokens": 80, "audio_tokens": 50, "image_tokens": 10}
    usage = extract_token_usage(
        {"usage": {"prompt_tokens": 100, "prompt_tokens_details": details}}, "openai"
    )
    assert (usage.tokens_cached, usage.tokens_audio_in, usage.tokens_image_in) == (80, 10, 10)


NAMES = st.sampled_from(
    [
        *("usage", "response", "message", "chunk", "data", "result", "output", "tool_usage"),
        *("type", "action", "prompt_tokens", "input_tokens", "output_tokens", "total_tokens"),
        *("input_tokens_details", "output_tokens_details", "cached_tokens", "audio_tokens"),
        *("cached_tokens_details", "iterations", "cache_creation", "server_tool_use", "seconds"),
        *("cache_read_input_tokens", "cache_creation_input_tokens", "service_tier", "speed"),
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["message", "compaction", "advisor_message", "fast", "web_search_call"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=30,
)


@given(JSON.map(lambda usage: {"usage": usage}) | JSON, st.sampled_from([None, "openai", "x"]))
def test_whatever_a_response_holds_nothing_is_raised_and_no_kind_is_negative(
    response: Any, provider: str | None
) -> None:
    for usage in (extract_token_usage(response, provider), _streamed([response] * 2, provider)):
        assert all(count >= 0 for count in usage[:9])
        assert all(count > 0 for count in (usage.billed_units or {}).values())
        assert usage.tokens_cache_write_1h <= usage.tokens_cache_write
        assert price_call("gpt-4o", usage.tokens, billed_units=usage.billed_units)


def test_a_two_tuple_has_cache_reads_and_writes_in_it() -> None:
    message = {**MESSAGE, "usage": MESSAGE_USAGE}
    assert extract_usage(message, "anthropic") == extract_anthropic_usage(message) == (1_000, 500)
    chat = _chat("gpt-5", CHAT_USAGE)
    assert extract_usage(chat, "openai") == extract_openai_usage(chat) == (1_000, 500)
    assert extract_usage(chat, "azure_openai") == (1_000, 500)
    assert extract_usage(chat, "somebody") == (0, 0)


def test_the_shape_decides_for_a_provider_that_serves_others_models() -> None:
    message = _built(at.Message, {**MESSAGE, "usage": MESSAGE_USAGE})
    assert extract_token_usage(message, "bedrock").tokens_in == 1_000
    gateway = _chat("claude-sonnet-4", {**CHAT_USAGE, "cache_read_input_tokens": 600})
    assert extract_token_usage(gateway, "custom")[:3] == (1_000, 500, 600)


def _streamed(events: Iterable[Any], provider: str | None = None) -> CusReportedUsage:
    stream = CusStreamUsage(provider)
    for event in events:
        stream.add(event)
    return stream.usage


def _chunk(usage: Any) -> Any:
    return oc.ChatCompletionChunk.construct(id="c", choices=[], usage=usage)


def _openai_chat_stream() -> list[Any]:
    return [_chunk(None), _chunk(None), _chunk(CHAT_USAGE)]


def _gateway_chat_stream() -> list[Any]:
    growing = {**CHAT_USAGE, "completion_tokens": 7, "total_tokens": 1_007}
    return [_chunk(growing), _chunk(None), _chunk(CHAT_USAGE), _chunk(None)]


def _helper_chat_stream() -> list[Any]:
    chunks = (_chunk(None), _chunk(CHAT_USAGE))
    return [ChunkEvent.construct(type="chunk", chunk=chunk, snapshot=None) for chunk in chunks]


def _assistant_stream() -> list[Any]:
    run = {"id": "r", "object": "thread.run", "usage": CHAT_USAGE}
    return [
        ThreadRunCreated.construct(event="thread.run.created", data={"id": "r", "usage": None}),
        ThreadRunCompleted.construct(event="thread.run.completed", data=run),
    ]


def _helper_message_stream() -> list[Any]:
    whole = {**MESSAGE, "usage": MESSAGE_USAGE}
    end = MessageStopEvent.construct(type="message_stop", message=whole)
    return [*_message_stream()[:-1], end]


def _response_stream() -> list[Any]:
    return [
        orr.ResponseCreatedEvent.construct(response=_response("x", usage=None)),
        orr.ResponseTextDeltaEvent.construct(delta="x"),
        orr.ResponseCompletedEvent.construct(response=_response("x", usage=RESPONSE_USAGE)),
    ]


def _message_stream(start: Any = at.RawMessageStartEvent) -> list[Any]:
    begun = {**MESSAGE_USAGE, "output_tokens": 1, "server_tool_use": None}
    begun["output_tokens_details"] = None
    final = {key: MESSAGE_USAGE[key] for key in ("output_tokens", "server_tool_use")}
    final["output_tokens_details"] = MESSAGE_USAGE["output_tokens_details"]
    return [
        start.construct(type="message_start", message={**MESSAGE, "usage": begun}),
        at.RawContentBlockDeltaEvent.construct(type="content_block_delta", index=0),
        at.RawMessageDeltaEvent.construct(type="message_delta", usage={"output_tokens": 40}),
        at.RawMessageDeltaEvent.construct(type="message_delta", usage=final),
        at.RawMessageStopEvent.construct(type="message_stop"),
    ]


@pytest.mark.parametrize(
    ("events", "tokens"),
    [
        (_openai_chat_stream, CHAT_TOKENS),
        (_gateway_chat_stream, CHAT_TOKENS),
        (_helper_chat_stream, CHAT_TOKENS),
        (_assistant_stream, CHAT_TOKENS),
        (_helper_message_stream, MESSAGE_TOKENS),
        (_response_stream, RESPONSE_TOKENS),
        (_message_stream, MESSAGE_TOKENS),
        (lambda: _message_stream(ab.BetaRawMessageStartEvent), MESSAGE_TOKENS),
    ],
)
@pytest.mark.parametrize("as_json", [False, True], ids=["object", "json"])
def test_a_stream_reports_what_the_whole_response_would(
    events: Callable[[], list[Any]], tokens: dict[str, int], as_json: bool
) -> None:
    found = [event.to_dict() for event in events()] if as_json else events()
    assert _streamed(found).tokens == CusTokenUsage(**tokens)


def test_a_message_whose_input_counts_grow_is_read_at_their_last() -> None:
    deltas = {"output_tokens": 9, "input_tokens": 150, "cache_read_input_tokens": 700}
    last = at.RawMessageDeltaEvent.construct(type="message_delta", usage=deltas)
    usage = _streamed([*_message_stream(), last], "anthropic")
    assert usage.tokens_in == 150 + 700 + 300
    assert (usage.tokens_cached, usage.tokens_cache_write_1h, usage.tokens_out) == (700, 100, 9)


def test_a_stream_that_breaks_off_reports_what_is_known() -> None:
    usage = _streamed(_message_stream()[:2])
    assert (usage.tokens_in, usage.tokens_out, usage.reported) == (1_000, 1, True)
    assert _streamed(_openai_chat_stream()[:2]) == CusReportedUsage()
    assert _streamed([]) == CusReportedUsage()


def test_the_events_of_a_stream_that_carry_no_usage_are_known_by_their_class() -> None:
    _streamed(_message_stream())
    assert cus_usage._carriers[at.RawContentBlockDeltaEvent] is None
    assert cus_usage._carriers[at.RawMessageDeltaEvent] == "usage"
    assert cus_usage._carriers[at.RawMessageStartEvent] == "message"
