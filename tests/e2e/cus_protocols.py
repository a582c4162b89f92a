"""One local server in place of many providers: it speaks the protocol of the host it is called by.

A client keeps its provider's real address; its transport alone takes the request to this machine.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from tests.corpus.cus_anthropic_shapes import message, message_events, spoken
from tests.corpus.cus_openai_shapes import bare_tokens, chunks, completion, tokens
from tests.cus_local_server import CusLocalServer
from tests.sdk.cus_fake_providers import _aws_frame

# The tokens in, of these the cached ones, and the tokens out of the ten calls.
TEN_CALLS: Final = (
    (1_000, 0, 500), (1, 0, 1), (2_048, 1_024, 77), (333, 0, 3), (4_096, 3_072, 900),
    (77, 64, 0), (10_000, 0, 1), (1_025, 1_024, 500), (50_001, 20_000, 4_000), (12, 0, 8_000),
)  # fmt: skip
_NUMBER: Final = re.compile(r"call (\d+)")


@dataclass(frozen=True)
class Protocol:
    """How the provider of a host answers: at a `path`, as `model`, in the words of a provider."""

    host: str
    model: str
    path: str
    words: str = "openai"


class CusProviders(CusLocalServer):
    """Answers the ten calls by the protocols of some hosts; 404 for any other host or path."""

    def __init__(self, protocols: Iterable[Protocol]) -> None:
        self.protocols = {protocol.host: protocol for protocol in protocols}
        super().__init__(type("Handler", (_Handler,), {"providers": self}))

    def transport(self, http: Any) -> Any:
        """A transport of this HTTP package that connects here, whatever the host."""
        port = self._server.server_port

        transport = http.HTTPTransport(verify=False)
        send = transport.handle_request

        def send_here(request: Any) -> Any:
            request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=port)
            return send(request)

        transport.handle_request = send_here
        return transport


class _Handler(BaseHTTPRequestHandler):
    providers: CusProviders
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, else each answer waits 40 ms for an ACK

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        protocol = self.providers.protocols.get(self.headers["Host"])
        if protocol is None or not re.fullmatch(protocol.path, self.path):
            self.send(404, "application/json", b'{"error": {"message": "no such place"}}')
            return
        number = _NUMBER.search(json.dumps(body["messages"]))
        assert number
        tokens_in, cached, tokens_out = TEN_CALLS[int(number[1])]
        if protocol.words in ("anthropic", "bedrock"):
            self.say(protocol, body, spoken(tokens_in - cached, tokens_out, read=cached))
        else:
            self.complete(protocol, body, tokens_in, tokens_out, cached)

    def say(self, protocol: Protocol, body: Any, usage: Any) -> None:
        """Answer as Anthropic does, or one of its platforms."""
        answer = message(protocol.model, usage)
        if protocol.words == "bedrock" and "response-stream" in self.path:
            frames = b"".join(map(_aws_frame, message_events(answer).events))
            self.send(200, "application/vnd.amazon.eventstream", frames)
        elif body.get("stream"):
            self.send_events(message_events(answer).events)
        else:
            self.send(200, "application/json", json.dumps(answer).encode())

    def complete(self, protocol: Protocol, body: Any, sent: int, made: int, cached: int) -> None:
        """Answer as OpenAI does, or as those do who speak its protocol."""
        usage = _usage(protocol, sent, made, cached)
        if not body.get("stream"):
            answer = completion(protocol.model, usage)
            self.send(200, "application/json", json.dumps(answer).encode())
            return
        names = "" if protocol.words == "azure" else protocol.model
        *told, last = chunks(protocol.model, usage, names=names).events
        if protocol.words == "groq":
            last = {**last, "usage": None, "x_groq": {"id": "req_7", "usage": usage}}
        elif not (body.get("stream_options") or {}).get("include_usage"):
            last = {**last, "usage": None}
        self.send_events([*told, last])

    def send_events(self, events: Iterable[Any]) -> None:
        """Send a stream of events, whose names are their types."""
        text = "".join(map(_event_text, events))
        self.send(200, "text/event-stream", text.encode())

    def send(self, status: int, kind: str, content: bytes) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


def _event_text(event: Any) -> str:
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n"


def _usage(protocol: Protocol, sent: int, made: int, cached: int) -> dict[str, Any]:
    """The usage of a chat completion in the provider's words."""
    if protocol.words == "deepseek":
        hits = {"prompt_cache_hit_tokens": cached, "prompt_cache_miss_tokens": sent - cached}
        return bare_tokens(sent, made, **hits)
    if protocol.words == "openrouter":
        return tokens(sent, made, cached=cached, cost=0.000123)
    return tokens(sent, made, cached=cached)
