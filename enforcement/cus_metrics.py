"""Prometheus metrics of decisions, read from their totals at scrape time (rulings O1, O2)."""

from collections.abc import Iterator

from django.db import connection
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aos_sdk.cus_wire import CusEnforcementResult

_LABELS = ("tenant_id", "integration_id")
_RESULTS = tuple(result.value for result in CusEnforcementResult)
# Every integration has its series from the start. Otherwise `increase()` misses the first count.
_TOTALS = f"""
SELECT integration.tenant_id::text, integration.id::text,
    coalesce(total.degraded, 0), coalesce(total.contention, 0), {", ".join(f"coalesce(total.{name}, 0)" for name in _RESULTS)},
    coalesce(overrun.tokens, 0), coalesce(overrun.microcents, 0)
FROM cus_integrations AS integration
LEFT JOIN cus_decision_totals AS total ON
    (total.tenant_id, total.integration_id) = (integration.tenant_id, integration.id)
LEFT JOIN (
    SELECT tenant_id, integration_id, sum(overrun_tokens)::bigint AS tokens,
        sum(overrun_microcents)::bigint AS microcents
    FROM cus_lifetime_totals GROUP BY 1, 2
) AS overrun ON
    (overrun.tenant_id, overrun.integration_id) = (integration.tenant_id, integration.id)
"""  # noqa: S608  (the names are this module's own)
_HELD = """
SELECT integration.tenant_id::text, integration.id::text,
    coalesce(sum(hold.calls), 0)::bigint, integration.max_live_holds
FROM cus_integrations AS integration LEFT JOIN cus_hold_sums AS hold ON
    (hold.tenant_id, hold.integration_id) = (integration.tenant_id, integration.id)
GROUP BY 1, 2, 4
"""


class CusDecisionsCollector(Collector):
    """Turns the totals of decisions into counters, two reads a scrape."""

    def describe(self) -> list[Metric]:
        """An empty list. Without this method, registering the collector queries the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The counters by the totals of now."""
        decisions = CounterMetricFamily(
            "cus_enforcement_decisions",
            "Checks by result, plain allowed included.",
            labels=(*_LABELS, "result"),
        )
        blocked = CounterMetricFamily(
            "cus_enforcement_blocked",
            "Checks that refused: blocked or hard-blocked.",
            labels=_LABELS,
        )
        degraded = CounterMetricFamily(
            "cus_enforcement_degraded",
            "Checks that admitted a call without evidence.",
            labels=_LABELS,
        )
        contention = CounterMetricFamily(
            "cus_enforcement_contention",
            "Checks that could not be decided in time, or beyond the integration's share.",
            labels=_LABELS,
        )
        tokens = CounterMetricFamily(
            "cus_enforcement_overrun_tokens", "Tokens beyond what was held.", labels=_LABELS
        )
        cost = CounterMetricFamily(
            "cus_enforcement_overrun_microcents", "Cost beyond what was held.", labels=_LABELS
        )
        running = GaugeMetricFamily(
            "cus_enforcement_holds",
            "Calls that were admitted and are not reported.",
            labels=_LABELS,
        )
        bound = GaugeMetricFamily(
            "cus_enforcement_holds_limit",
            "The most calls that may be held for at once.",
            labels=_LABELS,
        )
        with connection.cursor() as cursor:
            cursor.execute(_TOTALS)
            for tenant_id, integration_id, without, busy, *numbers in cursor.fetchall():
                labels = [tenant_id, integration_id]
                *counts, over_tokens, over_cost = numbers
                for name, count in zip(_RESULTS, counts, strict=True):
                    decisions.add_metric([*labels, name], count)
                blocked.add_metric(labels, sum(counts[_RESULTS.index("blocked") :]))
                degraded.add_metric(labels, without)
                contention.add_metric(labels, busy)
                tokens.add_metric(labels, over_tokens)
                cost.add_metric(labels, over_cost)
            cursor.execute(_HELD)
            for tenant_id, integration_id, count, most in cursor.fetchall():
                running.add_metric([tenant_id, integration_id], count)
                bound.add_metric([tenant_id, integration_id], most)
        yield from (decisions, blocked, degraded, contention, tokens, cost, running, bound)


_collector = CusDecisionsCollector()


def register_collector() -> None:
    """Add the counters of decisions to /metrics, once a process."""
    if _collector not in REGISTRY._collector_to_names:  # noqa: SLF001  (there is no public way)
        REGISTRY.register(_collector)
