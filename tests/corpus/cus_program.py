"""Makes the calls of the corpus with the providers' own clients, whose transport is a script."""

import json
from collections.abc import Iterator
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai

from tests.corpus.cus_calls import Call, Events, Lines, Place, Refusal, Silence
from tests.sdk.cus_fake_providers import _aws_frame
from tests.sdk.cus_provider_http import anthropic_http, openai_http
from tests.sdk.cus_scripted_clients import (
    KEY,
    REQUEST_ID,
    anthropic_client,
    azure_client,
    failing,
    openai_client,
    platform_client,
    streamed,
    whole,
)

ERRORS = (openai.OpenAIError, anthropic.AnthropicError)


class CusProgram:
    """A customer's program with a client for each place, which makes one call after the other."""

    def __init__(self) -> None:
        self._clients: dict[Place, Any] = {}
        self._answers: Iterator[Any] = iter(())

    def make(self, call: Call) -> None:
        """Make the call, and use what it returns as programs do."""
        client = self._client(call.place)
        self._answers = iter(call.answers)
        try:
            for path, asks in call.steps:
                returned = attrgetter(path)(client)(**asks)
            if call.is_streamed and not hasattr(returned, "text"):
                list(returned)
        except ERRORS:
            return

    def _client(self, place: Place) -> Any:
        if place not in self._clients:
            self._clients[place] = self._new_client(place)
        return self._clients[place]

    def _new_client(self, place: Place) -> Any:
        def reply(request: Any) -> Any:
            return _response(place, next(self._answers))(request)

        match place.client:
            case "azure":
                return azure_client(reply)
            case "anthropic":
                return anthropic_client(reply, place.address)
            case "bedrock":
                region = (urlsplit(place.address).hostname or "").split(".")[1]
                kind: Any = anthropic.AnthropicBedrock
                return platform_client(kind, reply, aws_region=region, api_key=KEY)
            case "vertex":
                access = {"project_id": "acme", "access_token": KEY}
                return platform_client(
                    anthropic.AnthropicVertex, reply, region=place.address, **access
                )
        return openai_client(reply, place.address)


def _response(place: Place, answer: Any) -> Any:
    """The reply of a transport that gives this answer."""
    http = openai_http if place.client in ("openai", "azure") else anthropic_http
    match answer:
        case Events(events) if place.client == "bedrock":
            frames = b"".join(map(_aws_frame, events))
            return _of_bytes(http, frames, "application/vnd.amazon.eventstream")
        case Events(events):
            return streamed(http, events)
        case Lines(lines):
            text = "".join(f"{json.dumps(line)}\n" for line in lines)
            return _of_bytes(http, text.encode(), "application/x-jsonl")
        case Refusal(status):
            return whole(http, {"error": {"message": "no", "type": "x", "code": None}}, status)
        case bytes():
            return _of_bytes(http, answer, "audio/mpeg")
        case str():
            return _of_bytes(http, answer.encode(), "text/plain")
        case Silence():
            return failing(http.ReadTimeout("too slow"))
    return whole(http, answer)


def _of_bytes(http: Any, content: bytes, kind: str) -> Any:
    headers = {"content-type": kind, "x-request-id": REQUEST_ID}
    return lambda _request: http.Response(200, content=iter([content]), headers=headers)
