"""Prometheus metrics, read from the evidence totals at scrape time (ruling O2).

The metrics survive restarts, are the same from every process, and never drift from the rows.
Evidence never depends on metrics.
"""

from collections.abc import Iterator

from django.db import connection
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from telemetry.cus_analytics.metrics import analytics_metrics

_LABELS = ("tenant_id", "integration_id")
# Metric, its total, and its help text. Counters count rows as recorded.
_COUNTERS = (
    ("cus_llm_calls", "calls", "LLM calls that ran, as reported, without blocked calls."),
    ("cus_llm_unpriced_calls", "unpriced", "Calls whose model has no known price."),
    (
        "cus_llm_unpriced_unit_calls",
        "unpriced_unit_calls",
        "Calls with a billed unit that has no price.",
    ),
    ("cus_llm_unmeasured_calls", "unmeasured", "Calls whose usage was unknown when they came."),
    ("cus_llm_settled_calls", "settled", "Unmeasured calls whose usage became known later."),
    ("cus_llm_cost_mismatches", "cost_mismatches", "Calls whose reported cost is not ours."),
    (
        "cus_llm_tokens_mismatches",
        "tokens_mismatches",
        "Calls whose kinds of tokens do not add up.",
    ),
    ("cus_llm_cost_cents", "cost_cents", "Cost as reported, each call rounded up to a cent."),
    (
        "cus_llm_cost_counted_cents",
        "counted_cents",
        "What limits in cents count: the greater of reported and our own, call by call.",
    ),
    ("cus_llm_cost_microcents", "cost_microcents", "Exact cost, in millionths of a cent."),
)
# Gauges: corrections and settlements lower them, which a counter never does.
_GAUGES = (
    (
        "cus_llm_cost_correction_microcents",
        "correction_microcents",
        "What later adjustments add to the exact cost as recorded.",
    ),
    (
        "cus_llm_provisional_microcents",
        "provisional_microcents - total.released_microcents",
        "What budgets count of calls whose usage is still unknown.",
    ),
)
_COLUMNS = tuple(column for _, column, _ in (*_COUNTERS, *_GAUGES))
# Every integration has its series from the start. Otherwise `increase()` misses the first call.
_TOTALS = f"""
SELECT integration.tenant_id::text, integration.id::text,
    {", ".join(f"coalesce(sum(total.{column}), 0)::bigint" for column in _COLUMNS)}
FROM cus_integrations AS integration LEFT JOIN cus_lifetime_totals AS total ON
    (total.tenant_id, total.integration_id) = (integration.tenant_id, integration.id)
GROUP BY 1, 2
"""  # noqa: S608  (the names are this module's own)

_COVERAGE = """
SELECT tenant_id::text, id::text, (coverage_percent / 100)::float8, unproven_calls
FROM cus_integrations WHERE coverage_percent IS NOT NULL OR unproven_calls IS NOT NULL
"""


class CusTotalsCollector(Collector):
    """Turns the lifetime totals into counters, one read a scrape."""

    def describe(self) -> list[Metric]:
        """An empty list. Without this method, registering the collector queries the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The counters by the totals of now."""
        families: list[CounterMetricFamily | GaugeMetricFamily] = [
            CounterMetricFamily(name, text, labels=_LABELS) for name, _, text in _COUNTERS
        ]
        families += [GaugeMetricFamily(name, text, labels=_LABELS) for name, _, text in _GAUGES]
        with connection.cursor() as cursor:
            cursor.execute(_TOTALS)
            for tenant_id, integration_id, *sums in cursor.fetchall():
                for family, value in zip(families, sums, strict=True):
                    family.add_metric([tenant_id, integration_id], value)
        yield from families
        yield from _coverage()
        yield from analytics_metrics()


def _coverage() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    """Both gauges, with a series for each integration that has had calls lately."""
    says = "Governed calls, of all provider calls seen in the last 7 days."
    coverage = GaugeMetricFamily("cus_integration_coverage_ratio", says, labels=_LABELS)
    says = "Calls claimed as governed until a day ago that have no record."
    unproven = GaugeMetricFamily("cus_integration_unproven_calls", says, labels=_LABELS)
    with connection.cursor() as cursor:
        cursor.execute(_COVERAGE)
        for tenant_id, integration_id, *values in cursor.fetchall():
            for family, value in zip((coverage, unproven), values, strict=True):
                if value is not None:
                    family.add_metric([tenant_id, integration_id], value)
    return coverage, unproven


_collector = CusTotalsCollector()


def register_collector() -> None:
    """Add the totals to /metrics, once a process."""
    if _collector not in REGISTRY._collector_to_names:  # noqa: SLF001  (there is no public way)
        REGISTRY.register(_collector)
