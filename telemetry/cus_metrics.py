"""Prometheus metrics, read from the evidence totals at scrape time (ruling O2).

They survive restarts, are the same from every process and never drift from the rows.
Evidence never depends on them.
"""

from collections.abc import Iterator

from django.db import connection
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

_LABELS = ("tenant_id", "integration_id")
# Every integration has its series from the start: `increase()` would miss a first call else.
_TOTALS = """
SELECT integration.tenant_id::text, integration.id::text,
    coalesce(sum(total.calls), 0)::bigint
FROM cus_integrations AS integration LEFT JOIN cus_lifetime_totals AS total ON
    (total.tenant_id, total.integration_id) = (integration.tenant_id, integration.id)
GROUP BY 1, 2
"""


class CusTotalsCollector(Collector):
    """Turns the lifetime totals into counters, one read a scrape."""

    def describe(self) -> list[Metric]:
        """Nothing: without it, registering would already ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The counters as the totals are now."""
        calls = CounterMetricFamily(
            "cus_llm_calls_total",
            "LLM calls that ran, as reported; blocked ones are not among them.",
            labels=_LABELS,
        )
        with connection.cursor() as cursor:
            cursor.execute(_TOTALS)
            for tenant_id, integration_id, count in cursor.fetchall():
                calls.add_metric([tenant_id, integration_id], count)
        yield calls


_collector = CusTotalsCollector()


def register_collector() -> None:
    """Make the totals part of /metrics, once a process."""
    if _collector not in REGISTRY._collector_to_names:  # noqa: SLF001  (there is no public way)
        REGISTRY.register(_collector)
