"""Anthropic's client with a stream from memory, as `cus_sdk_client` has one of OpenAI's.

Each package has stream events of its own, which are read in a way of their own; so both are measured.
"""

import functools
from collections.abc import Callable
from typing import Any, Final

import anthropic
from anthropic._models import construct_type
from anthropic.types import RawMessageStreamEvent

from benchmarks.cus_sdk_client import MESSAGES, Answering, new_client, ready_made

_MODEL: Final = "claude-sonnet-5"
_MESSAGE: Final[dict[str, Any]] = {
    "id": "msg_99999999",
    "type": "message",
    "role": "assistant",
    "model": _MODEL,
    "content": [],
    "stop_reason": None,
    "usage": {"input_tokens": 1_000, "output_tokens": 1},
}


@functools.cache
def _events(length: int) -> list[Any]:
    parts: list[dict[str, Any]] = [
        {"type": "message_start", "message": _MESSAGE},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": f"word{number} "},
            }
            for number in range(length)
        ),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": length},
        },
        {"type": "message_stop"},
    ]
    return [construct_type(type_=RawMessageStreamEvent, value=part) for part in parts]


def stream_length(length: int) -> None:
    """Say how many events with text a stream has from now on."""
    Answering.chunks = _events(length)


def create() -> Callable[..., Any]:
    """The method that makes a message, of a new client that makes no requests."""
    stream: Any = anthropic.Stream
    stream.__stream__ = ready_made
    client = new_client(anthropic.Anthropic)
    return functools.partial(
        client.messages.create, model=_MODEL, messages=MESSAGES, max_tokens=1_000
    )
