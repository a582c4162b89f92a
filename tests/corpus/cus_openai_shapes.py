"""Answers and streams in the shapes of OpenAI's API."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final

from tests.corpus.cus_calls import PROMPT, TEXT, Call, Events, Place, whole_and_streamed
from tests.corpus.cus_places import OPENAI, OPENAI_PRICING

_numbers: Final = count(1)
MESSAGES: Final = [{"role": "user", "content": PROMPT}]
_WITH_USAGE: Final = {"stream_options": {"include_usage": True}}


def tokens(
    tokens_in: int,
    tokens_out: int,
    *,
    cached: int = 0,
    reasoning: int = 0,
    audio: tuple[int, int] = (0, 0),
    predicted: tuple[int, int] = (0, 0),
    **more: Any,
) -> dict[str, Any]:
    """The usage of a chat completion; `audio` in and out, `predicted` accepted and rejected."""
    accepted, rejected = predicted
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": audio[0]},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": audio[1],
            "accepted_prediction_tokens": accepted,
            "rejected_prediction_tokens": rejected,
        },
        **more,
    }


def bare_tokens(tokens_in: int, tokens_out: int, **more: Any) -> dict[str, Any]:
    """The usage of those who tell no details, or tell them in words of their own."""
    total = tokens_in + tokens_out
    counts = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": total}
    return {**counts, **more}


def completion(model: str, usage: Any, **more: Any) -> dict[str, Any]:
    """A whole chat completion."""
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    named = {
        "id": f"chatcmpl-{next(_numbers)}",
        "object": "chat.completion",
        "created": 1_795_000_000,
    }
    return {**named, "model": model, "choices": [choice], "usage": usage, **more}


def chunks(model: str, usage: Any, *, names: str | None = None, **more: Any) -> Events:
    """The chunks of a chat completion; `names` is the model's name in the first one."""
    first_name = model if names is None else names
    named = {"id": f"chatcmpl-{next(_numbers)}", "object": "chat.completion.chunk"}
    told = {**named, "created": 1_795_000_000, **more}

    def chunk(delta: Any, finish: str | None = None, name: str = model) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {**told, "model": name, "choices": [choice], "usage": None}

    begin, *rest = TEXT.split()
    words = [chunk({"content": word}) for word in (begin, *(f" {word}" for word in rest))]
    begun = chunk({"role": "assistant", "content": ""}, name=first_name)
    last = {**told, "model": model, "choices": [], "usage": usage}
    return Events((begun, *words, chunk({}, "stop"), last))


def chat(
    name: str,
    model: str,
    usage: Mapping[str, Any],
    bills: str,
    *,
    asked: str | None = None,
    place: Place = OPENAI,
    page: str = OPENAI_PRICING,
    asks: Mapping[str, Any] | None = None,
    **more: Any,
) -> Iterator[Call]:
    """A chat completion, whole and streamed; `more` stands in the answer and in each chunk."""
    arguments = {"model": asked or model, "messages": MESSAGES, **(asks or {})}
    step = ("chat.completions.create", arguments)
    answer = completion(model, usage, **more)
    call = Call(name, place, (step,), (answer,), model, bills, page)
    yield from whole_and_streamed(call, chunks(model, usage, **more), _WITH_USAGE)


def sent_and_made(
    tokens_in: int,
    tokens_out: int,
    *,
    cached: int = 0,
    written: tuple[int, int] = (0, 0),
    reasoning: int = 0,
) -> dict[str, Any]:
    """The usage of a response; `written` to the cache for 30 minutes and for 12 hours."""
    short, long = written
    sent: dict[str, Any] = {"cached_tokens": cached, "cache_write_tokens": short + long}
    if short + long:
        sent["cache_write_tokens_details"] = {"ttl_30m_tokens": short, "ttl_12h_tokens": long}
    return {
        "input_tokens": tokens_in,
        "input_tokens_details": sent,
        "output_tokens": tokens_out,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": tokens_in + tokens_out,
    }


def response(model: str, usage: Any, **more: Any) -> dict[str, Any]:
    """A whole response of the Responses API; `more` may hold `output`, `tools`, `tool_usage`."""
    text = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    message = {"id": "msg_7", "type": "message", "role": "assistant", "status": "completed"}
    output = [*more.pop("output", ()), {**message, "content": [text]}]
    return {
        "id": f"resp_{next(_numbers)}",
        "object": "response",
        "created_at": 1_795_000_000,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
        "usage": usage,
        **more,
    }


def response_events(answer: dict[str, Any]) -> Events:
    """The events of a response that ends as `answer`."""
    begun = {**answer, "status": "in_progress", "output": [], "usage": None, "tool_usage": None}
    where = {"item_id": "msg_7", "output_index": 0, "content_index": 0, "logprobs": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    item = {"id": "msg_7", "type": "message", "role": "assistant", "status": "in_progress"}
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **where, "part": part},
        {"type": "response.output_text.delta", **where, "delta": TEXT},
        {"type": "response.output_text.done", **where, "text": TEXT},
        {"type": f"response.{answer['status']}", "response": answer},
    ]
    return Events(tuple({**event, "sequence_number": at} for at, event in enumerate(told)))


def responses(
    name: str,
    model: str,
    usage: Mapping[str, Any],
    bills: str,
    *,
    place: Place = OPENAI,
    page: str = OPENAI_PRICING,
    asks: Mapping[str, Any] | None = None,
    **more: Any,
) -> Iterator[Call]:
    """A response, whole and streamed; `more` stands in the response."""
    step = ("responses.create", {"model": model, "input": PROMPT, **(asks or {})})
    answer = response(model, usage, **more)
    call = Call(name, place, (step,), (answer,), model, bills, page)
    yield from whole_and_streamed(call, response_events(answer), {})


def single(
    name: str,
    path: str,
    asks: Mapping[str, Any],
    answer: Any,
    bills: str,
    *,
    place: Place = OPENAI,
    page: str = OPENAI_PRICING,
    model: str | None = None,
    is_silent: bool = False,
) -> Call:
    """A call that is made in one way alone."""
    answered = model or asks["model"]
    step = (path, asks)
    return Call(name, place, (step,), (answer,), answered, bills, page, is_silent=is_silent)
