"""Usage that a program learns later than its call, from the SDK to the totals (ruling M5b)."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from django.db import connections
from openai import OpenAI

from aos_sdk import CusReporter, cus_install_middleware, cus_uninstall_middleware
from aos_sdk.cus_configuration import CusConfiguration, active
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLifetimeTotals, CusLLMUsage, CusUsageSettlement
from tests.conftest import _superuser
from tests.e2e.cus_served import ServedProduct
from tests.trust.cus_audit import findings

pytestmark = pytest.mark.django_db(transaction=True)
_PATIENCE = 20.0


class BackgroundProvider(ThreadingHTTPServer):
    """OpenAI's Responses API on this machine: a POST queues the response, a GET finds it finished."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer("queued", None)

    def do_GET(self) -> None:
        counts = {"input_tokens": 1_000, "output_tokens": 500, "total_tokens": 1_500}
        details = {"cached_tokens": 0}, {"reasoning_tokens": 100}
        names = ("input_tokens_details", "output_tokens_details")
        self._answer("completed", {**counts, **dict(zip(names, details, strict=True))})

    def _answer(self, status: str, usage: Any) -> None:
        response = {
            "id": "resp_1", "object": "response", "created_at": 1_768_651_200, "model": "gpt-4o",
            "background": True, "status": status, "usage": usage, "output": [], "tools": [],
            "tool_choice": "auto", "parallel_tool_calls": True,
        }  # fmt: skip
        content = msgspec.json.encode(response)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def client() -> Iterator[OpenAI]:
    """A client of a provider that makes responses in the background."""
    with BackgroundProvider() as provider:
        thread = threading.Thread(target=provider.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{provider.server_port}/v1"
        with OpenAI(api_key="sk-local", base_url=url) as made:
            yield made
        provider.shutdown()
        thread.join(_PATIENCE)


@contextmanager
def _program(integration: CusIntegration, product: ServedProduct) -> Iterator[None]:
    """A program of its own, as far as the product can tell: it has sent all when its block ends."""
    _, key = issue_sdk_key(integration)
    reporter = CusReporter(key, product.base_url, spool_dir=None)
    active.replace(CusConfiguration(reporter))
    cus_install_middleware(detect_bypass=False)
    try:
        yield
    finally:
        cus_uninstall_middleware()
        active.replace(None)
        assert reporter.shutdown(_PATIENCE) == 0
        assert reporter.stats.rejected == reporter.stats.faults == 0


def _ask(client: OpenAI) -> None:
    client.responses.create(model="gpt-4o", input="a private question", background=True)


def _read(client: OpenAI) -> None:
    assert client.responses.retrieve("resp_1").status == "completed"


def _totals(integration: CusIntegration) -> tuple[int, int, int]:
    """Calls, cost and provisional cost of the integration, as its totals have them."""
    rows = CusLifetimeTotals.objects.filter(integration_id=integration.id)
    return (
        sum(row.calls for row in rows),
        sum(row.cost_microcents for row in rows),
        sum(row.provisional_microcents - row.released_microcents for row in rows),
    )


def _assert_sums_agree() -> None:
    with _superuser(str(connections["default"].settings_dict["NAME"])) as audit:
        assert findings(audit) == []


def test_a_background_call_of_one_program_is_settled_by_others_once(
    integration: CusIntegration, product: ServedProduct, client: OpenAI
) -> None:
    with _program(integration, product):
        _ask(client)
    row = CusLLMUsage.objects.get()
    assert (row.pricing, row.response_id, row.cost_microcents) == ("unmeasured", "resp_1", 0)
    calls, cost, provisional = _totals(integration)
    assert (calls, cost, provisional) == (1, 0, row.provisional_microcents)
    assert provisional > 0
    _assert_sums_agree()

    for _ in range(2):
        with _program(integration, product):
            _read(client)
            _read(client)
    settlement = CusUsageSettlement.objects.get()
    assert (settlement.usage_id, settlement.tokens_in) == (row.id, 1_000)
    assert settlement.cost_microcents == 1_000 * 250 + 500 * 1_000
    assert CusLLMUsage.objects.count() == 1
    assert _totals(integration) == (1, settlement.cost_microcents, 0)
    _assert_sums_agree()


def test_an_answer_that_is_read_before_its_call_is_sent_counts_once(
    integration: CusIntegration, product: ServedProduct, client: OpenAI
) -> None:
    with _program(integration, product):
        _read(client)
    with _program(integration, product):
        _ask(client)

    row = CusLLMUsage.objects.get()
    assert (row.pricing, row.tokens_in, row.tokens_out) == ("table", 1_000, 500)
    assert _totals(integration) == (1, 750_000, 0)
    _assert_sums_agree()
