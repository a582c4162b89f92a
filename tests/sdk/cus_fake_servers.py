"""Real local servers that stand in for the collector and for a provider."""

import json
import ssl
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.cus_local_server import CusLocalServer

Headers = dict[str, str]
# Status, body and headers of an answer; None hangs up without one.
Answer = tuple[int, Any, Headers] | None
Script = Callable[[str, dict[str, Any]], Answer]


class CusFakeServer(CusLocalServer):
    """A JSON server; `answer` decides what it says."""

    def __init__(self, answer: Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, Headers, dict[str, Any]]] = []
        self.connections = 0
        self._answer = answer
        super().__init__(self._handler(), tls)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet, else each answer waits 40 ms for an ACK

            def setup(self) -> None:
                super().setup()
                fake.connections += 1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.requests.append((self.path, dict(self.headers), body))
                answer = fake._answer(self.path, body)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_json(*answer)

            def send_json(self, status: int, body: Any, headers: Headers) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test's output clean."""

        return Handler


class CusFakeCollector(CusFakeServer):
    """The telemetry endpoint: stores by `call_id`, and misbehaves as `script` says.

    Each entry of `script` is one answer, used up in order: a status with its headers, or None for
    a connection that breaks after the request was read. `lose_answers` stores and then breaks.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._receive, tls)
        self.stored: dict[str, dict[str, Any]] = {}
        self.script: deque[tuple[int, Headers] | None] = deque()
        self.lose_answers = 0
        self.largest_batch = 1_000
        self.refuses: set[str] = set()
        self.poison: set[str] = set()
        self.fails_on: set[str] = set()
        self.bypass_reports: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    @property
    def batches(self) -> list[list[dict[str, Any]]]:
        return [body["records"] for _, _, body in self.requests if "records" in body]

    def _receive(self, path: str, body: dict[str, Any]) -> Answer:
        if self.script:
            scripted = self.script.popleft()
            return scripted and (scripted[0], cus_error("scripted"), scripted[1])
        if path.endswith("/bypass"):
            self.bypass_reports.append(body)
            return 201, body, {}
        records = body["records"]
        if len(records) > self.largest_batch:
            return 413, cus_error("too_large"), {}
        if any(record["call_id"] in self.poison for record in records):
            return 400, cus_error("malformed"), {}
        if any(record["call_id"] in self.fails_on for record in records):
            return 500, cus_error("server_error"), {}
        receipt = self._store(records)
        if self.lose_answers:
            self.lose_answers -= 1
            return None
        return 200, receipt, {}

    def _store(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        counts = {"accepted": 0, "duplicates": 0, "conflicts": 0, "rejected": 0}
        results = []
        for index, record in enumerate(records):
            name, status = self._store_one(record)
            counts[name] += 1
            if name != "accepted":
                results.append(
                    {
                        "index": index,
                        "call_id": record["call_id"],
                        "status": status,
                        "code": "invalid" if name == "rejected" else name,
                        "detail": "scripted by the test",
                        "attr": "tokens_in",
                    }
                )
        return {"total": len(records), **counts, "results": results}

    def _store_one(self, record: dict[str, Any]) -> tuple[str, str]:
        call_id = record["call_id"]
        with self._lock:
            if call_id in self.refuses:
                return "rejected", "rejected"
            if call_id not in self.stored:
                self.stored[call_id] = record
                return "accepted", "accepted"
            if self.stored[call_id]["tokens_in"] != record["tokens_in"]:
                return "conflicts", "conflict"
            return "duplicates", "duplicate"


def cus_error(code: str, detail: str = "scripted by the test") -> dict[str, Any]:
    return {"type": "x", "errors": [{"code": code, "detail": detail, "attr": None}]}


def cus_chat_completion(**changes: Any) -> dict[str, Any]:
    """What chat.completions answers; `changes` replace its top-level fields."""
    message = {"role": "assistant", "content": "Hello.", "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_768_608_000,
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500},
        "service_tier": "default",
        **changes,
    }
