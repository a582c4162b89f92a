"""A local server that speaks HashiCorp Vault's API for KV version 2, as far as reading goes."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.cus_local_server import CusLocalServer

TOKEN = "hvs.CAESIJ-test-token-0123456789abcdef"


class FakeVault:
    """Secrets by `mount/path`; `requests` has what was asked for, `mode` how it answers."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.mode = "normal"
        self.address = ""

    def answer(self, path: str, token: str | None) -> tuple[int, Any]:
        """(status, body) of GET `path`, as Vault's documentation has them."""
        if self.mode == "sealed":
            return 503, {"errors": ["Vault is sealed"]}
        if self.mode == "broken":
            return 500, {"errors": ["internal error"]}
        if self.mode == "no vault":
            return 200, ["hello"]
        if self.mode == "moved":
            return 307, {}
        if token != TOKEN:
            return 403, {"errors": ["permission denied"]}
        mount, _, name = path.removeprefix("/v1/").partition("/data/")
        secret = self.secrets.get(f"{mount}/{name}")
        if secret is None:
            return 404, {"errors": []}
        if secret == {}:
            metadata = {"deletion_time": "2026-11-01T00:00:00Z", "destroyed": False, "version": 2}
            return 404, {"data": {"data": None, "metadata": metadata}}
        metadata = {"created_time": "2026-11-01T00:00:00Z", "destroyed": False, "version": 1}
        return 200, {"data": {"data": secret, "metadata": metadata}}


@contextmanager
def serving_vault() -> Iterator[FakeVault]:
    vault = FakeVault()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            vault.requests.append((self.path, dict(self.headers)))
            if vault.mode == "hung":
                time.sleep(1.0)
            status, body = vault.answer(self.path, self.headers.get("X-Vault-Token"))
            text = json.dumps(body).encode()
            self.send_response(status)
            if status == 307:
                self.send_header("Location", f"{vault.address}/v1/elsewhere")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with CusLocalServer(Handler) as server:
        vault.address = server.url
        yield vault
