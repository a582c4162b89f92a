"""The lines of `cus_access_matrix.txt`, and what is sent for each of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.api.cus_access_world import METHODS, MISSING, World
from tests.api.test_cus_bypass import window
from tests.cus_factories import record

_INTEGRATION = {"name": "Walked", "config": {"base_url": "https://127.0.0.1:1"}}
_KEY = {"api_key": "sk-test-0123456789abcdef"}
BODIES: dict[str, Any] = {
    "POST integrations": _INTEGRATION | {"provider_type": "custom", "credential": _KEY},
    "PUT integrations/{integration_id}": _INTEGRATION,
    "PATCH integrations/{integration_id}": {"name": "Walked"},
    "POST integrations/{integration_id}/keys": {"label": "walked"},
    "POST integrations/{integration_id}/stops": {
        "scope": "model",
        "value": "walked",
        "reason": "Walked.",
    },
    "POST integrations/{integration_id}/scoped-limits": {
        "scope": "model",
        "value": "walked",
        "unit": "cents",
        "window": "day",
        "amount": 5,
    },
    "PATCH integrations/{integration_id}/scoped-limits/{limit_id}": {"amount": 5},
    "PATCH integrations/{integration_id}/run-limits/{session_id}": {
        "cents": 200,
        "reason": "The launch.",
    },
    "POST increase-requests": {
        "amount": 5_000,
        "valid_until": "2099-01-01T00:00:00Z",
        "reason": "Walked.",
    },
    "POST increase-requests/{request_id}/refuse": {"reason": "Walked."},
    "POST notifications/targets": {"medium": "email", "address": "walked@example.com"},
    "PATCH notifications/targets/{target_id}": {"muted_kinds": ["stop_made"]},
    "PUT notifications/muted": {"kinds": ["limit_80"]},
    "POST members": {"email": "walked@example.com"},
    "PATCH members/{member_id}": {"role": "admin"},
    "PATCH tenant": {"time_zone": "Asia/Kolkata"},
    "POST display-rates": {
        "currency": "EUR",
        "rate": "0.92",
        "valid_from": "2026-11-01T00:00:00Z",
    },
    "POST price-overrides": {
        "model": "walked",
        "prices": {"input": "1", "output": "2"},
        "valid_from": "2026-11-01T00:00:00Z",
    },
    "POST price-overrides/preview": {
        "model": "gpt-4o",
        "prices": {"percent_of_list": "90"},
        "valid_from": "2026-11-01T00:00:00Z",
    },
    "POST tokens": {"name": "walked"},
    "POST telemetry/llm-usage": record(call_id="walked"),
    "POST telemetry/llm-usage/batch": {"records": [record(call_id="walked")]},
    "POST telemetry/bypass": window(),
    "PUT telemetry/months/{month}/invoices": {"total_cents": 5},
    "POST enforcement/check": {"call_id": "walked", "model": "gpt-4o"},
    "POST enforcement/simulate": {"budget_limit_cents": 5},
    "POST enforcement/lease": {"holder_id": "walked", "estimate": {"cents": 1}},
    "DELETE enforcement/lease/{lease_id}": {
        "set_aside": {"cents": 0, "microcents": 0, "tokens": 0, "calls": 0}
    },
    "POST enforcement/batch": {"requests": [{"call_id": "walked", "model": "gpt-4o"}]},
}


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    method: str
    url: str
    thing: str
    expected: dict[str, int]

    @property
    def path(self) -> str:
        return self.url if self.url.startswith("/") else f"/api/v1/cus/{self.url}"

    @property
    def methods(self) -> list[str]:
        """What is sent: also HEAD for GET, and all that is not offered for `other`."""
        if self.method == "other":
            return sorted(set(METHODS) - offered_by_table(self.url))
        return ["GET", "HEAD"] if self.method == "GET" else [self.method]


_TABLE = Path(__file__).with_name("cus_access_matrix.txt").read_text()
HEAD, *ROWS = [row for row in _TABLE.splitlines() if row.strip() and not row.startswith("#")]
COLUMNS = HEAD.split()[3:]


def _parse(row: str) -> Line:
    method, url, *thing = row.split()[: -len(COLUMNS)]
    statuses = map(int, row.split()[-len(COLUMNS) :])
    return Line(method, url, " ".join(thing), dict(zip(COLUMNS, statuses, strict=True)))


LINES = [_parse(row) for row in ROWS]
URLS = sorted({line.url for line in LINES})
# Checks are decided over connections of their own, which see only what is committed: these are
# asked in test_cus_access_matrix_of_checks.py.
OF_CHECKS = [url for url in URLS if url.startswith("enforcement/")]


def offered_by_table(url: str) -> set[str]:
    named = {line.method for line in LINES if line.url == url} - {"other"}
    return named | ({"HEAD"} if "GET" in named else set())


# Whose tenant is named by the query.
BY_QUERY = (
    "display-rates",
    "integrations",
    "members",
    "notifications/deliveries",
    "notifications/targets",
    "price-overrides",
    "price-overrides/preview",
    "telemetry/anomalies",
    "telemetry/focus",
    "telemetry/gaps",
    "tenant",
    "telemetry/llm-usage",
    "telemetry/llm-usage/summary",
    "telemetry/months/{month}/close",
    "telemetry/months/{month}/invoices",
    "telemetry/usage-daily",
    "telemetry/usage-hourly",
)


def query_of(world: World, line: Line) -> dict[str, str]:
    tenant = world.tenant_named(line.thing)
    return {"tenant_id": str(tenant)} if line.url in BY_QUERY and tenant else {}


def body_of(world: World, line: Line) -> str:
    body = BODIES.get(f"{line.method} {line.url}")
    if body is None:
        return ""
    if line.url == "increase-requests":
        body = body | {"limit_id": str(world.limit_named(line.thing))}
    if line.url in ("telemetry/months/{month}/invoices", "enforcement/simulate"):
        others = {"foreign": world.foreign, "closed": world.closed}
        whose = others.get(line.thing, world.own).integration.id
        named_ids = {"missing": MISSING, "deleted": world.gone.id}
        body = body | {"integration_id": str(named_ids.get(line.thing, whose))}
    # A record is of the key's integration, unless it says of which.
    named = {"foreign": world.foreign.integration.id, "missing": MISSING}.get(line.thing)
    if named and line.url == "telemetry/llm-usage":
        body = body | {"integration_id": str(named)}
    if named and line.url == "telemetry/llm-usage/batch":
        body = {"records": [body["records"][0] | {"integration_id": str(named)}]}
    return json.dumps(body)
