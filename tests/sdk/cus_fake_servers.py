"""Real local servers that stand in for the collector and for a provider."""

import json
import ssl
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from aos_sdk.cus_enforcing.scoped_limits import CusKnownLimit
from aos_sdk.cus_limit_scopes import CusCallNames, applying
from tests.cus_local_server import CusLocalServer

Headers = dict[str, str]
# Status, body and headers of an answer; None hangs up without one.
Answer = tuple[int, Any, Headers] | None
Script = Callable[[str, dict[str, Any]], Answer]


class CusFakeServer(CusLocalServer):
    """A JSON server; `answer` decides what it says."""

    def __init__(self, answer: Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, Headers, dict[str, Any]]] = []
        self.asked: list[tuple[str, Headers]] = []
        self.connections = 0
        self._answer = answer
        super().__init__(self._handler(), tls)

    def answer_get(self, path: str, headers: Headers) -> Answer:
        """Answer a GET: a server without such a page, unless a subclass has one."""
        return 404, cus_error("not_found"), {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"fake": self})


class _Handler(BaseHTTPRequestHandler):
    """Answers as its server says."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, else each answer waits 40 ms for an ACK
    fake: CusFakeServer

    def setup(self) -> None:
        super().setup()
        self.fake.connections += 1

    def do_GET(self) -> None:
        headers = dict(self.headers)
        self.fake.asked.append((self.path, headers))
        self._give(self.fake.answer_get(self.path, headers))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.fake.requests.append((self.path, dict(self.headers), body))
        self._give(self.fake._answer(self.path, body))

    def _give(self, answer: Answer) -> None:
        if answer is None:
            self.close_connection = True
            return
        status, body, headers = answer
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


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
        if "/enforcement/" in path:
            return 404, cus_error("not_found"), {}
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


class CusFakeGovernor(CusFakeCollector):
    """A collector that also decides on calls.

    `room` is how many checks it admits; `refusal` is its answer beyond. `trouble`, if set, answers
    everything before calls instead: a status with a body, or None for a broken connection. The next
    `breaks` checks meet a broken connection. `lent` are the amounts of each lease, None for a server
    that knows no leases; `owed` has the leases that were not returned, with what was set aside. While
    `loses_answers`, a lease is lent but its holder never hears of it.
    """

    def __init__(self, *, is_limited: bool = True) -> None:
        super().__init__()
        self.configuration: dict[str, Any] = {
            "status": "enabled",
            "credential_state": "valid",
            "enforcement_level": "block",
            "is_limited": is_limited,
            "overrides": [],
            "config_version": 1,
        }
        self.room = 1_000_000
        self.held: set[str] = set()
        self.refusal: dict[str, Any] = cus_refusal()
        self.verdict: dict[str, Any] = {"result": "allowed", "reasons": []}
        self.trouble: list[tuple[int, Any] | None] = []
        self.breaks = 0
        self.lent: dict[str, int] | None = None
        self.lease_seconds = 5.0
        self.loses_answers = False
        self.owed: set[str] = set()
        self.set_aside: dict[str, dict[str, int]] = {}
        self.delay_seconds = 0.0
        # Budgets in code, by session: what checks have told.
        self.runs: dict[str, dict[str, int]] = {}

    def limit(self, **limits: Any) -> None:
        """Set the limits at scopes, each `(scope, value)` by its id; the configuration is newer."""
        self.configuration["limits"] = [
            {
                "id": name,
                "scope": scope,
                "tag": tag,
                "value": value,
                "unit": "cents",
                "window": "day",
                "amount": 1_000,
                "result": "blocked",
                "valid_from": "2020-01-01T00:00:00+00:00",
                "valid_until": None,
            }
            for name, (scope, value, *more) in limits.items()
            for tag in (more[0] if more else "",)
        ]
        self.configuration["config_version"] += 1

    @property
    def checks(self) -> list[dict[str, Any]]:
        return [body for path, _, body in self.requests if path.endswith("/check")]

    def answer_get(self, path: str, headers: Headers) -> Answer:
        if self.trouble:
            return self._trouble()
        etag = f'"{self.configuration["config_version"]}"'
        if headers.get("If-None-Match") == etag:
            return 304, None, {"ETag": etag}
        return 200, self.configuration, {"ETag": etag}

    @property
    def lease_requests(self) -> list[dict[str, Any]]:
        return [body for path, _, body in self.requests if path.endswith("/lease")]

    def _receive(self, path: str, body: dict[str, Any]) -> Answer:
        if path.endswith("/lease"):
            return self._trouble() if self.trouble else self._lend(body)
        if not path.endswith("/check"):
            return super()._receive(path, body)
        time.sleep(self.delay_seconds)
        if self.trouble:
            return self._trouble()
        if self.breaks:
            self.breaks -= 1
            return None
        if "run" in body:
            self.runs[body["session_id"]] = body["run"]
        with self._lock:
            is_held = body["call_id"] in self.held
            admits = is_held or len(self.held) < self.room
            if admits:
                self.held.add(body["call_id"])
        verdict = self.verdict if admits else self.refusal
        return 200, {"call_id": body["call_id"], "degraded": False, **verdict}, {}

    def _lend(self, body: dict[str, Any]) -> Answer:
        if self.lent is None:
            return 404, cus_error("not_found"), {}
        for one in body["returns"]:
            self.owed.discard(one["lease_id"])
            self.set_aside[one["lease_id"]] = one["set_aside"]
        answer: dict[str, Any] = {
            "lease_id": None,
            "returned": [one["lease_id"] for one in body["returns"]],
            "config_version": self.configuration["config_version"],
            "decision": self.verdict,
            "slices": self._slices(body.get("scopes")),
        }
        # A holder that knows no scopes would admit calls beyond their limits.
        is_told = "scopes" in body or not self.configuration.get("limits")
        if "estimate" in body and self.lent and is_told:
            lease_id = body.get("next_lease_id") or str(uuid.uuid4())
            self.owed.add(lease_id)
            if self.loses_answers:
                return None
            milliseconds = int(self.lease_seconds * 1_000)
            answer |= {"lease_id": lease_id, "valid_for_ms": milliseconds, **self.lent}
        return 200, answer, {}

    def _slices(self, scopes: dict[str, Any] | None) -> list[dict[str, Any]]:
        """One of each limit at a scope that applies to calls with these names."""
        names = CusCallNames(**(scopes or {}))
        limits = [CusKnownLimit.read(one) for one in self.configuration.get("limits", ())]
        slices: list[dict[str, Any]] = [
            {"limit_id": one.id, "value": value, "unit": one.unit, "window": one.window}
            for one, value in applying(limits, names, time.time())
        ]
        session = names.session_id
        for unit in self.runs.get(session or "", ()):
            one = {"limit_id": f"run-{unit}", "value": session, "unit": unit, "window": "life"}
            slices.append(one)
        return [{**one, "amount": 1} for one in slices]

    def _trouble(self) -> Answer:
        trouble = self.trouble[0]
        return trouble and (*trouble, {})


def cus_refusal(**changes: Any) -> dict[str, Any]:
    """The verdict of a full budget; `changes` replace fields of its reason."""
    reason = {
        "code": "budget_exceeded",
        "message": "The monthly budget of $0.05 has no room: $0.05 used.",
        "action": "Increase limit or wait until 1 December",
        "limit_type": "budget",
        "limit_value": 5,
        "current_value": 5,
        "held_value": 0,
        **changes,
    }
    return {"result": "blocked", "reasons": [reason]}


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
