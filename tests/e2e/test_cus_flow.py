"""A customer's program from its first call to the console, over real processes (§9)."""

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest
from openai import OpenAI

from aos_project.cus_demo.cus_local_provider import LocalProvider
from aos_project.cus_demo.cus_replay import Replay
from aos_project.cus_demo.cus_trace import synthetic_trace
from aos_sdk import CusOpenAIProvider, CusReporter, CusUsageRecord, calculate_cost
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.lookup import sums_of_calls
from telemetry.cus_evidence.models import CusLifetimeTotals, CusLLMUsage
from tests.cus_factories import SdkClient, make_user, signed_in
from tests.e2e.cus_served import ServedProduct, serving

pytestmark = pytest.mark.django_db(transaction=True)
_PATIENCE = 30.0
TRACE = replace(synthetic_trace(), calls=synthetic_trace().calls[:200])


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    """OpenAI's wire protocol on this machine, answering with the trace's tokens."""
    tokens = [(call.tokens_in, call.tokens_out) for call in TRACE.calls]
    with serving(tokens) as server:
        yield server


def _replay(
    integration: CusIntegration, product: ServedProduct, provider: LocalProvider, speed: float = 0
) -> Replay:
    _, key = issue_sdk_key(integration)
    return Replay(
        TRACE, key=key, base_url=product.base_url, provider_url=provider.base_url, speed=speed
    )


def test_a_call_through_the_sdk_is_in_console_and_metrics(
    integration: CusIntegration, product: ServedProduct, provider: LocalProvider
) -> None:
    _, key = issue_sdk_key(integration)
    reporter = CusReporter(key, product.base_url)
    with OpenAI(api_key="sk-local", base_url=provider.base_url) as client:
        ours = CusOpenAIProvider(client=client, reporter=reporter)
        answer = ours.chat_completions_create(
            model="gpt-4o", messages=[{"role": "user", "content": "call 3"}], session_id="s"
        )
    assert reporter.shutdown(20) == 0

    call = TRACE.calls[3]
    assert answer.choices[0].message.content == "ok"
    row = CusLLMUsage.objects.get()
    assert (row.tokens_in, row.tokens_out) == (call.tokens_in, call.tokens_out)
    assert row.cost_cents == calculate_cost("gpt-4o", call.tokens_in, call.tokens_out)
    assert row.cost_microcents == 250 * call.tokens_in + 1000 * call.tokens_out
    assert (row.session_id, row.provider, row.operation, row.flags) == ("s", "openai", "chat", [])
    assert row.latency_ms is not None
    console = signed_in(make_user("support"))
    assert row.call_id in console.get("/admin/telemetry/cusllmusage/").content.decode()
    whose = f'integration_id="{integration.id}",tenant_id="{integration.tenant_id}"'
    labels = f'{whose},provider="openai",model="gpt-4o"'
    metrics = console.get("/metrics").content.decode()
    assert f"cus_llm_calls_total{{{labels}}} 1\n" in metrics


def test_an_answer_that_is_whole_is_sent_with_its_length(product: ServedProduct) -> None:
    asked = (("/api/v1/cus/enforcement/check", "POST"), ("/admin/login/", "GET"))
    with closing(HTTPConnection(product.base_url.removeprefix("http://"))) as connection:
        for path, method in asked:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            assert body
            assert answer.headers["Content-Length"] == str(len(body))
            assert answer.headers["Transfer-Encoding"] is None


def test_a_replayed_trace_agrees_to_the_last_microcent_and_counts_once(
    integration: CusIntegration, product: ServedProduct, provider: LocalProvider
) -> None:
    for accepted, known in ((200, 0), (0, 200)):
        replay = _replay(integration, product, provider)
        assert sum(1 for _ in replay.run()) == 200
        delivery = replay.finish()
        assert delivery.undelivered == delivery.rejected == delivery.dropped == 0
        assert delivery.duplicates + delivery.conflicts == known
        assert delivery.sent == accepted

    stored = sums_of_calls(integration.tenant_id, integration.id, TRACE.call_ids)
    assert stored.rows == CusLLMUsage.objects.count() == 200
    assert (stored.tokens_in, stored.tokens_out) == (TRACE.tokens_in, TRACE.tokens_out)
    assert stored.cost_microcents == 250 * TRACE.tokens_in + 1000 * TRACE.tokens_out


def test_a_web_server_killed_in_the_middle_loses_and_doubles_nothing(
    integration: CusIntegration, product: ServedProduct, provider: LocalProvider
) -> None:
    replay = _replay(integration, product, provider, speed=40)

    for done, _ in enumerate(replay.run()):
        if done in (40, 90):
            product.kill()
        if done in (60, 130):
            product.start()
    delivery = replay.finish()

    assert delivery.undelivered == delivery.rejected == delivery.dropped == 0
    assert replay.reporter.stats.retries > 0, "the kills came too late to matter"
    stored = sums_of_calls(integration.tenant_id, integration.id, TRACE.call_ids)
    assert stored.rows == CusLLMUsage.objects.count() == 200
    assert (stored.tokens_in, stored.tokens_out) == (TRACE.tokens_in, TRACE.tokens_out)
    totals = CusLifetimeTotals.objects.filter(integration_id=integration.id)
    assert sum(total.calls for total in totals) == 200
    assert sum(total.cost_microcents for total in totals) == stored.cost_microcents


def test_a_connection_that_the_server_closed_while_it_was_idle_costs_no_event(
    sdk: SdkClient, tmp_path: Path
) -> None:
    with ServedProduct(GRANIAN_HTTP1_HEADER_READ_TIMEOUT="1000") as product:
        reporter = CusReporter(sdk.key, product.base_url, spool_dir=str(tmp_path))
        try:
            reporter.report(CusUsageRecord("before", "gpt-4o", tokens_in=1, tokens_out=1))
            reporter.flush(_PATIENCE)
            # Idle for longer than the reporter's connection was.
            with socket.create_connection(("127.0.0.1", product.port), _PATIENCE) as idle:
                idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                while idle.recv(65_536):
                    pass
            reporter.report(CusUsageRecord("after", "gpt-4o", tokens_in=1, tokens_out=1))
            reporter.flush(_PATIENCE)
            stats = reporter.stats
        finally:
            reporter.shutdown(_PATIENCE)

    assert set(CusLLMUsage.objects.values_list("call_id", flat=True)) == {"before", "after"}
    assert (stats.sent, stats.duplicates, stats.dropped) == (2, 0, 0)
