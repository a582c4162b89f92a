"""Calls that end without an answer, or without its usage."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from tests.corpus.cus_calls import Call, Refusal, Silence
from tests.corpus.cus_openai_shapes import MESSAGES, chat, chunks, single, tokens
from tests.corpus.cus_places import (
    ANTHROPIC,
    ANTHROPIC_ERRORS,
    OPENAI_ERRORS,
)

_CHAT: Final = {"model": "gpt-4o", "messages": MESSAGES}
_MESSAGE: Final = {"model": "claude-sonnet-4-6", "max_tokens": 900, "messages": MESSAGES}


def _chat(name: str, answer: Any, bills: str) -> Call:
    path = "chat.completions.create"
    return single(name, path, _CHAT, answer, bills, page=OPENAI_ERRORS)


def _message(name: str, answer: Any, bills: str) -> Call:
    path = "messages.create"
    return single(name, path, _MESSAGE, answer, bills, place=ANTHROPIC, page=ANTHROPIC_ERRORS)


def _without_usage() -> Iterator[Call]:
    """A stream whose program did not ask for usage: the text is counted here."""
    _, call = chat("chat", "gpt-4o", tokens(14, 6), "14 x 250 + 6 x 1000")
    events = chunks("gpt-4o", None)
    asks = {**_CHAT, "stream": True}
    yield replace(
        call,
        name="chat streamed without its usage",
        steps=(("chat.completions.create", asks),),
        answers=(replace(events, events=events.events[:-1]),),
        pair=None,
    )


CALLS: Final[list[Call]] = [
    _chat("chat that was refused for its rate", Refusal(429), "0 x 250"),
    _chat("chat that failed at the provider's", Refusal(500), "0 x 250"),
    _chat("chat with a bad key", Refusal(401), "0 x 250"),
    _message("message that was refused for its rate", Refusal(429), "0 x 300"),
    _message("message that met an overload", Refusal(529), "0 x 300"),
    # The provider may bill the prompt of a call that was given up: 14 tokens, counted here.
    _chat("chat that nobody answered", Silence(), "14 x 250"),
    *_without_usage(),
]
