"""Clients of the providers' packages whose HTTP transport answers from a script, without a network."""

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

import anthropic
import openai

from tests.sdk.cus_provider_http import anthropic_http, openai_http

# Of the usual length; the last four characters alone may leave the program.
KEY: Final = "sk-proj-abcdefghijklmnop4f2a"
REQUEST_ID: Final = "req_0123456789abcdef0123456789abcdef"
Reply = Callable[[Any], Any]


def whole(http: Any, document: Any, status: int = 200) -> Reply:
    """Answers with this JSON."""
    headers = {"x-request-id": REQUEST_ID, "request-id": REQUEST_ID}
    return lambda _request: http.Response(status, json=document, headers=headers)


def streamed(http: Any, events: Iterable[Any]) -> Reply:
    """Answers with these events; those of Anthropic's and the Responses API have a type."""
    text = "".join(_event(event) for event in events)
    headers = {"content-type": "text/event-stream", "x-request-id": REQUEST_ID}
    # Of an iterator, or the client takes the body for one that it has read already.
    return lambda _request: http.Response(200, content=iter([text.encode()]), headers=headers)


def _event(event: dict[str, Any]) -> str:
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n"


def failing(error: BaseException) -> Reply:
    """Raises this in place of an answer."""

    def reply(_request: Any) -> Any:
        raise error

    return reply


def openai_client(reply: Reply, base_url: str = "https://api.openai.com/v1", **more: Any) -> Any:
    """A client of OpenAI's package."""
    return openai.OpenAI(**_options(openai_http, openai, reply, base_url, more))


def async_openai_client(reply: Reply, base_url: str = "https://api.openai.com/v1") -> Any:
    """An asynchronous client of OpenAI's package."""
    transport = openai_http.MockTransport(reply)
    client = openai.DefaultAsyncHttpxClient(transport=transport)
    return openai.AsyncOpenAI(api_key=KEY, base_url=base_url, max_retries=0, http_client=client)


def azure_client(reply: Reply, **more: Any) -> Any:
    """A client of OpenAI's package for Azure."""
    options = _options(openai_http, openai, reply, "", more)
    del options["base_url"]
    endpoint = "https://acme.openai.azure.com"
    return openai.AzureOpenAI(azure_endpoint=endpoint, api_version="2024-10-21", **options)


def anthropic_client(reply: Reply, base_url: str = "https://api.anthropic.com", **more: Any) -> Any:
    """A client of Anthropic's package."""
    return anthropic.Anthropic(**_options(anthropic_http, anthropic, reply, base_url, more))


def platform_client(kind: Any, reply: Reply, **more: Any) -> Any:
    """A client of Anthropic's package for a platform, at the host that it chooses itself."""
    options = _options(anthropic_http, anthropic, reply, "", {})
    del options["base_url"], options["api_key"]
    return kind(**options, **more)


def _options(http: Any, package: Any, reply: Reply, base_url: str, more: Any) -> dict[str, Any]:
    client = package.DefaultHttpxClient(transport=http.MockTransport(reply))
    own = {"api_key": KEY, "base_url": base_url, "max_retries": 0, "http_client": client}
    return {**own, **more}
