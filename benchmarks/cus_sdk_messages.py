"""Anthropic's client with a stream from memory, as `cus_sdk_client` has one of OpenAI's.

Each package has stream events of its own, which are read in a way of their own; so both are measured.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, Final

import anthropic
import httpx2
from anthropic._models import construct_type
from anthropic.types import RawMessageStreamEvent

from benchmarks.cus_sdk_client import MESSAGES

_MODEL: Final = "claude-sonnet-5"
_REQUEST: Final = httpx2.Request("POST", "http://127.0.0.1:1/v1/messages")
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


class _Answering(anthropic.Anthropic):
    events: list[Any] = []

    def request(
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        response = httpx2.Response(200, request=_REQUEST)
        return stream_cls(cast_to=cast_to, response=response, client=self, options=options)


def _ready_made(stream: Any) -> Iterator[Any]:
    yield from _Answering.events
    stream.response.close()


def stream_length(length: int) -> None:
    """Say how many events with text a stream has from now on."""
    _Answering.events = _events(length)


def create() -> Callable[..., Any]:
    """The method that makes a message, of a new client that asks nobody."""
    stream: Any = anthropic.Stream
    stream.__stream__ = _ready_made
    client: Any = _Answering(api_key="benchmark", base_url="http://127.0.0.1:1")
    return functools.partial(
        client.messages.create, model=_MODEL, messages=MESSAGES, max_tokens=1_000
    )
