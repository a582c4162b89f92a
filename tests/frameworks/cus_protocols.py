"""OpenAI's chat completions, responses and embeddings, and Anthropic's messages: whole and streamed."""

import base64
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from tests.frameworks.cus_answers import Answer, answer_to

# A stream's events: their names, where the protocol names them, and their data.
Event = tuple[str | None, Any]
_VECTOR: Final = (0.5, 0.25)
_CACHED: Final = 200
_EMBEDDING_TOKENS: Final = 8


@dataclass(frozen=True)
class Told:
    """The model and the tokens that the provider told for one request."""

    model: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int


@dataclass(frozen=True)
class Exchange:
    """One request, its number among those of a cell, and the usage that its answer tells.

    Each request of a cell has another usage, so that no record can show another's.
    """

    kind: str
    body: dict[str, Any]
    number: int

    @property
    def told(self) -> Told:
        """What a record of this request must have."""
        if self.kind == "embeddings":
            return Told(self.model, _EMBEDDING_TOKENS + self.number, 0, 0)
        return Told(self.model, 1_000 + 10 * self.number, 100 + 10 * self.number, _CACHED)

    @property
    def model(self) -> str:
        """The dated model that answers; embeddings and Claude have their asked name."""
        asked = str(self.body["model"])
        return f"{asked}-2024-08-06" if asked == "gpt-4o" else asked

    @property
    def answer(self) -> Answer:
        """What the model says."""
        return answer_to(self.body)

    @property
    def is_streamed(self) -> bool:
        """Whether the program asks for events."""
        return bool(self.body.get("stream"))

    def document(self) -> dict[str, Any]:
        """The whole answer."""
        return _PROTOCOLS[self.kind].document(self)

    def events(self) -> Iterator[Event]:
        """The streamed answer."""
        return _PROTOCOLS[self.kind].events(self)


@dataclass(frozen=True)
class _Protocol:
    document: Callable[[Exchange], dict[str, Any]]
    events: Callable[[Exchange], Iterator[Event]]


def kind_of(path: str) -> str | None:
    """The protocol of a path, or None for a path that bills no call."""
    end = path.partition("?")[0].rsplit("/v1/", 1)[-1]
    return end if end in _PROTOCOLS else None


def _chat_usage(told: Told) -> dict[str, Any]:
    return {
        "prompt_tokens": told.tokens_in,
        "completion_tokens": told.tokens_out,
        "total_tokens": told.tokens_in + told.tokens_out,
        "prompt_tokens_details": {"cached_tokens": told.tokens_cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _chat_head(exchange: Exchange, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{exchange.number}",
        "object": kind,
        "created": 1_768_608_000,
        "model": exchange.model,
        "service_tier": "default",
    }


def _chat_tool(answer: Answer, arguments: str) -> dict[str, Any]:
    function = {"name": answer.tool, "arguments": arguments}
    return {"id": "call_1", "type": "function", "function": function}


def _chat(exchange: Exchange) -> dict[str, Any]:
    answer = exchange.answer
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.tool:
        message["tool_calls"] = [_chat_tool(answer, answer.arguments)]
    end = "tool_calls" if answer.tool else "stop"
    choice = {"index": 0, "message": message, "finish_reason": end, "logprobs": None}
    head = _chat_head(exchange, "chat.completion")
    return {**head, "choices": [choice], "usage": _chat_usage(exchange.told)}


def _chat_events(exchange: Exchange) -> Iterator[Event]:
    # Asked for usage, OpenAI sends null with each chunk, and one more chunk with nothing else.
    asked = (exchange.body.get("stream_options") or {}).get("include_usage")
    head = {**_chat_head(exchange, "chat.completion.chunk"), **({"usage": None} if asked else {})}

    def chunk(delta: dict[str, Any], end: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "finish_reason": end, "logprobs": None}
        return None, {**head, "choices": [choice]}

    answer = exchange.answer
    yield chunk({"role": "assistant", "content": None if answer.tool else ""})
    if answer.tool:
        yield chunk({"tool_calls": [{"index": 0, **_chat_tool(answer, "")}]})
    for piece in answer.pieces:
        call = {"index": 0, "function": {"arguments": piece}}
        yield chunk({"tool_calls": [call]} if answer.tool else {"content": piece})
    yield chunk({}, "tool_calls" if answer.tool else "stop")
    if asked:
        yield None, {**head, "choices": [], "usage": _chat_usage(exchange.told)}
    yield None, "[DONE]"


def _response(exchange: Exchange, status: str, output: list[Any]) -> dict[str, Any]:
    told = exchange.told
    usage = {
        "input_tokens": told.tokens_in,
        "output_tokens": told.tokens_out,
        "total_tokens": told.tokens_in + told.tokens_out,
        "input_tokens_details": {"cached_tokens": told.tokens_cached},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return {
        "id": f"resp_{exchange.number}",
        "object": "response",
        "created_at": 1_768_608_000,
        "status": status,
        "model": exchange.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
        "usage": usage if status == "completed" else None,
    }


def _response_item(answer: Answer, status: str, content: str) -> dict[str, Any]:
    if answer.tool:
        call = {"name": answer.tool, "arguments": content, "call_id": "call_1"}
        return {"id": "fc_1", "type": "function_call", "status": status, **call}
    parts = [{"type": "output_text", "text": content, "annotations": [], "logprobs": []}]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "status": status}
    return {**head, "content": parts if content else []}


def _whole_response(exchange: Exchange) -> dict[str, Any]:
    answer = exchange.answer
    item = _response_item(answer, "completed", answer.arguments or answer.text)
    return _response(exchange, "completed", [item])


def _response_events(exchange: Exchange) -> Iterator[Event]:
    answer, number = exchange.answer, count()

    def event(kind: str, **fields: Any) -> Event:
        return kind, {"type": kind, "sequence_number": next(number), **fields}

    begun = _response_item(answer, "in_progress", "")
    done = _response_item(answer, "completed", answer.arguments or answer.text)
    yield event("response.created", response=_response(exchange, "in_progress", []))
    yield event("response.output_item.added", output_index=0, item=begun)
    yield from _tool_deltas(event, answer) if answer.tool else _text_deltas(event, answer)
    yield event("response.output_item.done", output_index=0, item=done)
    yield event("response.completed", response=_whole_response(exchange))


def _tool_deltas(event: Callable[..., Event], answer: Answer) -> Iterator[Event]:
    where = {"item_id": "fc_1", "output_index": 0}
    for piece in answer.pieces:
        yield event("response.function_call_arguments.delta", **where, delta=piece)
    whole = {"arguments": answer.arguments, "name": answer.tool}
    yield event("response.function_call_arguments.done", **where, **whole)


def _text_deltas(event: Callable[..., Event], answer: Answer) -> Iterator[Event]:
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "annotations": [], "logprobs": []}
    yield event("response.content_part.added", **where, part={**part, "text": ""})
    for piece in answer.pieces:
        yield event("response.output_text.delta", **where, delta=piece, logprobs=[])
    yield event("response.output_text.done", **where, text=answer.text, logprobs=[])
    yield event("response.content_part.done", **where, part={**part, "text": answer.text})


def _message(exchange: Exchange, content: list[Any], **changes: Any) -> dict[str, Any]:
    told = exchange.told
    usage = {
        "input_tokens": told.tokens_in - told.tokens_cached,
        "output_tokens": told.tokens_out,
        "cache_read_input_tokens": told.tokens_cached,
        "cache_creation_input_tokens": 0,
        "service_tier": "standard",
    }
    return {
        "id": f"msg_{exchange.number}",
        "type": "message",
        "role": "assistant",
        "model": exchange.model,
        "content": content,
        "stop_reason": "tool_use" if exchange.answer.tool else "end_turn",
        "stop_sequence": None,
        "usage": usage,
        **changes,
    }


def _whole_message(exchange: Exchange) -> dict[str, Any]:
    answer = exchange.answer
    if not answer.tool:
        return _message(exchange, [{"type": "text", "text": answer.text}])
    use = {"id": "toolu_1", "name": answer.tool, "input": json.loads(answer.arguments)}
    return _message(exchange, [{"type": "tool_use", **use}])


def _message_events(exchange: Exchange) -> Iterator[Event]:
    def event(kind: str, **fields: Any) -> Event:
        return kind, {"type": kind, **fields}

    answer = exchange.answer
    whole = _whole_message(exchange)
    (block,) = whole["content"]
    empty = {**block, "input": {}} if answer.tool else {**block, "text": ""}
    begun = {**whole["usage"], "output_tokens": 1}
    yield event("message_start", message=_message(exchange, [], stop_reason=None, usage=begun))
    yield event("content_block_start", index=0, content_block=empty)
    yield event("ping")
    for piece in answer.pieces:
        text = {"type": "text_delta", "text": piece}
        arguments = {"type": "input_json_delta", "partial_json": piece}
        yield event("content_block_delta", index=0, delta=arguments if answer.tool else text)
    yield event("content_block_stop", index=0)
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": whole["usage"]["output_tokens"]}
    yield event("message_delta", delta=end, usage=usage)
    yield event("message_stop")


def _embeddings(exchange: Exchange) -> dict[str, Any]:
    asked, tokens = exchange.body["input"], exchange.told.tokens_in
    texts = asked if isinstance(asked, list) and isinstance(asked[0], str | list) else [asked]
    packed = base64.b64encode(struct.pack(f"<{len(_VECTOR)}f", *_VECTOR)).decode()
    vector = packed if exchange.body.get("encoding_format") == "base64" else list(_VECTOR)
    data = [
        {"object": "embedding", "index": index, "embedding": vector} for index in range(len(texts))
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": exchange.model, "data": data, "usage": usage}


_PROTOCOLS: Final = {
    "chat/completions": _Protocol(_chat, _chat_events),
    "responses": _Protocol(_whole_response, _response_events),
    "messages": _Protocol(_whole_message, _message_events),
    "embeddings": _Protocol(_embeddings, lambda _exchange: iter(())),
}
