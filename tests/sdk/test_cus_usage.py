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
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChunkEvent
from openai.types.beta.assistant_stream_event import ThreadRunCompleted, ThreadRunCreated

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
from tests.sdk.cus_anthropic_usage_shapes import (
    ANTHROPIC_SHAPES,
    MESSAGE,
    MESSAGE_TOKENS,
    MESSAGE_USAGE,
)
from tests.sdk.cus_openai_usage_shapes import (
    CHAT_TOKENS,
    CHAT_USAGE,
    OPENAI_SHAPES,
    RESPONSE_TOKENS,
    RESPONSE_USAGE,
    Shape,
    chat_json,
    response_json,
)

SHAPES = OPENAI_SHAPES | ANTHROPIC_SHAPES


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
    oc.ChatCompletion.construct(**chat_json("gpt-5", None)),
    ot.ModerationCreateResponse.construct(id="m", results=[]),
    oa.Translation.construct(text="x"),
    oa.TranscriptionTextDeltaEvent.construct(type="transcript.text.delta", delta="x"),
    ot.Batch.construct(object="batch", usage=None),
    at.MessageTokensCount.construct(input_tokens=12),
    at.RawMessageStopEvent.construct(type="message_stop"),
    orr.Response.construct(**response_json("gpt-5", usage=None)),
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
    chat = chat_json("gpt-5", CHAT_USAGE)
    assert extract_usage(chat, "openai") == extract_openai_usage(chat) == (1_000, 500)
    assert extract_usage(chat, "azure_openai") == (1_000, 500)
    assert extract_usage(chat, "somebody") == (0, 0)


def test_the_shape_decides_for_a_provider_that_serves_others_models() -> None:
    message = _built(at.Message, {**MESSAGE, "usage": MESSAGE_USAGE})
    assert extract_token_usage(message, "bedrock").tokens_in == 1_000
    gateway = chat_json("claude-sonnet-4", {**CHAT_USAGE, "cache_read_input_tokens": 600})
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
        orr.ResponseCreatedEvent.construct(response=response_json("x", usage=None)),
        orr.ResponseTextDeltaEvent.construct(delta="x"),
        orr.ResponseCompletedEvent.construct(response=response_json("x", usage=RESPONSE_USAGE)),
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
