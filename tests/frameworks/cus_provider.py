"""A local server in the place of api.openai.com and api.anthropic.com.

Programs reach it as a proxy (`HTTPS_PROXY`): it takes their tunnel to a provider's host, and answers
in it with a certificate for that host. So frameworks call the addresses that they call in production,
and a tunnel to any other host is refused: nothing leaves this machine.
"""

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

from tests.cus_certificates import certificate, serving
from tests.cus_local_server import CusLocalServer
from tests.frameworks.cus_protocols import Event, Exchange, kind_of
from tests.frameworks.cus_websocket import accept_key, send_text, texts

HOSTS: Final = ("api.openai.com", "api.anthropic.com")


@dataclass(frozen=True)
class Seen:
    """A billed request that reached the provider."""

    host: str
    transport: str
    exchange: Exchange


class FrameworkProvider(CusLocalServer):
    """Both providers; `folder` gets the certificates that a program must trust."""

    def __init__(self, folder: Path) -> None:
        self.seen: list[Seen] = []
        self.refused_hosts: set[str] = set()
        self._lock = threading.Lock()
        files = {host: certificate(folder, host) for host in HOSTS}
        self.contexts = {host: serving(file) for host, file in files.items()}
        self.trusted = folder / "trusted.pem"
        self.trusted.write_text("".join(_public(file) for file in files.values()))
        super().__init__(type("Handler", (_Handler,), {"fake": self}))

    def take(self) -> list[Seen]:
        """The requests since the last time."""
        with self._lock:
            seen, self.seen = self.seen, []
        return seen

    def exchange(self, host: str, transport: str, kind: str, body: dict[str, Any]) -> Exchange:
        """Note a request; its answer is in the exchange."""
        with self._lock:
            exchange = Exchange(kind, body, len(self.seen))
            self.seen.append(Seen(host, transport, exchange))
        return exchange

    def environment(self) -> dict[str, str]:
        """What leads a program to this server, and lets it trust the server's certificates."""
        trusted = str(self.trusted)
        return {
            "HTTPS_PROXY": self.url,
            "https_proxy": self.url,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "SSL_CERT_FILE": trusted,
            "REQUESTS_CA_BUNDLE": trusted,
            "AIOHTTP_TRUST_ENV": "True",
            "OPENAI_API_KEY": "sk-proj-of-nobody-and-never-valid",
            "ANTHROPIC_API_KEY": "sk-ant-of-nobody-and-never-valid",
        }


def _public(file: Path) -> str:
    """The certificate in a file that also has its key."""
    begin = "-----BEGIN CERTIFICATE-----"
    return begin + file.read_text().partition(begin)[2]


class _Handler(BaseHTTPRequestHandler):
    fake: FrameworkProvider
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, else each answer waits 40 ms for an ACK
    host = ""

    def do_CONNECT(self) -> None:
        host = self.path.partition(":")[0]
        context = self.fake.contexts.get(host)
        if context is None:
            self.fake.refused_hosts.add(host)
            self.send_error(403, f"{host} is not a provider's host")
            return
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.wfile.flush()
        self._answer_in_tunnel(host, context)

    def _answer_in_tunnel(self, host: str, context: ssl.SSLContext) -> None:
        self.host = host
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb")
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def do_GET(self) -> None:
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._answer_websocket()
        else:
            self._send_json(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = kind_of(self.path)
        if kind is None or not self.host:
            self._send_json(404, {"error": {"message": f"no {self.path} here", "type": "x"}})
            return
        exchange = self.fake.exchange(self.host, "http", kind, body)
        if exchange.is_streamed:
            self._send_events(exchange.events())
        else:
            self._send_json(200, exchange.document())

    def _answer_websocket(self) -> None:
        self.send_response_only(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(self.headers["Sec-WebSocket-Key"]))
        self.end_headers()
        self.wfile.flush()
        for text in texts(self.rfile, self.wfile):
            body = json.loads(text)
            exchange = self.fake.exchange(self.host, "websocket", "responses", body)
            for _, event in exchange.events():
                send_text(self.wfile, json.dumps(event))
        self.close_connection = True

    def _send_json(self, status: int, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-request-id", "req_1")
        self.end_headers()
        self.wfile.write(content)

    def _send_events(self, events: Iterator[Event]) -> None:
        self.send_response_only(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for name, data in events:
            head = f"event: {name}\n" if name else ""
            text = data if isinstance(data, str) else json.dumps(data)
            event = f"{head}data: {text}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the command's output clean."""
