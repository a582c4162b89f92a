"""Answers and streams in the shapes of Anthropic's API."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.corpus.cus_calls import PROMPT, TEXT, Call, Events, Place, whole_and_streamed
from tests.corpus.cus_places import ANTHROPIC, ANTHROPIC_PRICING

# What a stream tells at its end too; the rest stands in its first event alone.
_TOLD_AT_END: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens_details",
    "server_tool_use",
    "iterations",
)


def spoken(
    tokens_in: int,
    tokens_out: int,
    *,
    read: int = 0,
    written: tuple[int, int] = (0, 0),
    **more: Any,
) -> dict[str, Any]:
    """The usage of a message; `written` to the cache for 5 minutes and for an hour."""
    short, long = written
    return {
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "service_tier": "standard",
        **more,
    }


def turn(kind: str, tokens_in: int, tokens_out: int, **more: Any) -> dict[str, Any]:
    """One of a message's iterations: `message`, `compaction` or `advisor_message`."""
    usage = spoken(tokens_in, tokens_out)
    del usage["service_tier"]
    return {"type": kind, **usage, **more}


def message(model: str, usage: Any, **more: Any) -> dict[str, Any]:
    """A whole message."""
    return {
        "id": "msg_7",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
        **more,
    }


def message_events(answer: dict[str, Any]) -> Events:
    """The events of a message that ends as `answer`."""
    usage = answer["usage"]
    known = {name: part for name, part in usage.items() if name != "iterations"}
    begun = {**answer, "content": [], "stop_reason": None, "usage": {**known, "output_tokens": 1}}
    delta = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    at_end = {name: usage[name] for name in _TOLD_AT_END if name in usage}
    block = {"type": "text", "text": ""}
    return Events(
        (
            {"type": "message_start", "message": begun},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "ping"},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": TEXT},
            },
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": delta, "usage": at_end},
            {"type": "message_stop"},
        )
    )


def messages(
    name: str,
    model: str,
    usage: Mapping[str, Any],
    bills: str,
    *,
    asked: str | None = None,
    place: Place = ANTHROPIC,
    page: str = ANTHROPIC_PRICING,
    path: str = "messages.create",
    asks: Mapping[str, Any] | None = None,
    **more: Any,
) -> Iterator[Call]:
    """A message, whole and streamed; `more` stands in the message."""
    asked_for = {"role": "user", "content": PROMPT}
    arguments = {"model": asked or model, "max_tokens": 900, "messages": [asked_for]}
    step = (path, {**arguments, **(asks or {})})
    answer = message(model, usage, **more)
    call = Call(name, place, (step,), (answer,), model, bills, page)
    yield from whole_and_streamed(call, message_events(answer), {})
