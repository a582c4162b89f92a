"""Counters equal the evidence, whatever process answers and whatever was killed (ruling O2)."""

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cus_factories import BATCH, record
from tests.cus_prepared_database import PreparedDatabase
from tests.e2e.cus_served import ServedProduct
from tests.trust.cus_door import Answer
from tests.trust.cus_real_product import RealProduct

CHECK = "/api/v1/cus/enforcement/check"
# Of each server once.
RESTARTS = 2
# Each counter of the page, and the same figure from the rows themselves.
_RAN = "FILTER (WHERE policy_result <> 'blocked')"
_FROM_ROWS = {
    "cus_llm_calls_total": f"count(*) {_RAN}",
    "cus_llm_cost_cents_total": "sum(cost_cents)",
    "cus_llm_cost_microcents_total": "sum(cost_microcents)",
    "cus_llm_tokens_total": "sum(tokens_in + tokens_out)",
    "cus_llm_errors_total": "count(error_code) FILTER (WHERE policy_result <> 'blocked')",
    "cus_llm_latency_seconds_count": f"count(latency_ms) {_RAN}",
    "cus_policy_results_total": "count(*)",
    "cus_llm_unpriced_calls_total": "count(*) FILTER (WHERE pricing = 'unknown')",
}
# Those from the log of decisions.
_FROM_LOG = {
    "cus_enforcement_blocked_total": "count(*) FILTER (WHERE result IN ('blocked', 'hard_blocked'))"
}


@pytest.fixture
def product(prepared: PreparedDatabase) -> Iterator[RealProduct]:
    with RealProduct(prepared=prepared) as real:
        yield real


def test_counters_equal_the_evidence_after_restarts_and_a_kill(product: RealProduct) -> None:
    ((key,),) = product.make_keys()
    with product.connect() as database:
        database.execute("UPDATE cus_integrations SET budget_limit_cents = 1")
        before = 0.0
        for turn in range(RESTARTS):
            _report(product, key)
            _refuse(product, key)
            before = _compared(product, database, at_least=before)
            number = turn % len(product.webs)
            product.webs[number].stop()
            product.restart_web(number)
            assert _compared(product, database, at_least=before) == before
        _killed_while_reporting(product, key)
        assert _compared(product, database, at_least=before) > before


def _post(product: RealProduct, number: int, key: str, path: str, body: bytes) -> Answer:
    with contextlib.closing(product.door(number, key)) as door:
        return door.post(path, body)


def _report(product: RealProduct, key: str, batches: int = 4) -> None:
    """Calls of all kinds, through both servers."""
    kinds: tuple[dict[str, Any], ...] = (
        {}, {"model": "o3", "error_code": "RateLimitError"}, {"model": "nobody-knows-this"},
        {"policy_result": "warned", "error_code": "made up"}, {"latency_ms": None},
        {"policy_result": "blocked", "tokens_in": 0, "tokens_out": 0, "cost_cents": 0,
         "error_code": "budget_exceeded"},
    )  # fmt: skip
    for number in range(batches):
        events = [record(**kind) for kind in kinds]
        answer = _post(product, number, key, BATCH, json.dumps({"records": events}).encode())
        assert answer.status in (200, 202), str(answer)


def _refuse(product: RealProduct, key: str) -> None:
    for number in range(4):
        asked = {"call_id": record()["call_id"], "estimated_cost_cents": 50}
        answer = _post(product, number, key, CHECK, json.dumps(asked).encode())
        assert answer.json()["result"] == "blocked"


def _killed_while_reporting(product: RealProduct, key: str) -> None:
    """`kill -9` of a server that stores batches, which their sender sends again afterwards."""
    sent = [json.dumps({"records": [record() for _ in range(200)]}).encode() for _ in range(12)]

    def post(body: bytes) -> None:
        with contextlib.suppress(Exception):
            _post(product, 0, key, BATCH, body)

    with ThreadPoolExecutor(6) as threads:
        posted = [threads.submit(post, body) for body in sent]
        posted[0].result()
        product.webs[0].kill()
    product.restart_web(0)
    for body in sent:
        assert _post(product, 0, key, BATCH, body).status in (200, 202)


def _compared(
    product: RealProduct, database: "psycopg.Connection[Any]", *, at_least: float
) -> float:
    """The calls that both servers count, once all counters equal the evidence in both."""
    evidence = _evidence(database)
    for web in product.webs:
        page = _page(web)
        assert {name: page[name] for name in evidence} == evidence
    assert evidence["cus_llm_calls_total"] >= at_least
    return evidence["cus_llm_calls_total"]


def _evidence(database: "psycopg.Connection[Any]") -> dict[str, float]:
    found: dict[str, float] = {}
    for table, figures in (("cus_llm_usage", _FROM_ROWS), ("cus_enforcement_decisions", _FROM_LOG)):
        row = database.execute(f"SELECT {', '.join(figures.values())} FROM {table}".encode())
        values = row.fetchone()
        assert values
        found |= {name: float(value) for name, value in zip(figures, values, strict=True)}
    return found


def _page(web: ServedProduct) -> dict[str, float]:
    """The sum of each counter's series."""
    with urllib.request.urlopen(f"{web.base_url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums
