"""A customer's receiver of webhooks: a real server on this machine, and the documented check."""

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from pytest_django import Settings

from aos_project.cus_environment import BASE_DIR
from tests.cus_local_server import CusLocalServer


@dataclass(frozen=True)
class Received:
    """A message as it arrived."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


class Receiver(CusLocalServer):
    """Keeps what it is sent, and answers with `status`."""

    def __init__(self) -> None:
        self.status = 204
        # While set, a message is received and not answered.
        self.hang = threading.Event()
        self.got: list[Received] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(Received(dict(self.headers.items()), body))
                while receiver.hang.is_set():
                    time.sleep(0.02)
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("Location", f"{receiver.url}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        super().__init__(Handler)

    @property
    def address(self) -> str:
        return f"{self.url}/hook"

    @property
    def kinds(self) -> list[str]:
        return [one.event["kind"] for one in self.got]

    def allow(self, settings: Settings) -> None:
        """Have the operator name this receiver's host."""
        settings.CUS_ALLOW_HTTP_WEBHOOKS = True
        settings.CUS_WEBHOOK_PRIVATE_HOSTS = [self.url.removeprefix("http://")]


def documented_check() -> Callable[..., bool]:
    """`is_genuine` exactly as docs/operations.md gives it to receivers."""
    text = (BASE_DIR / "docs" / "operations.md").read_text()
    (snippet,) = re.findall(r"```python\n(import hashlib.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(snippet, "docs/operations.md", "exec"), names)
    check: Callable[..., bool] = names["is_genuine"]
    return check
