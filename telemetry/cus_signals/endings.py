"""Counters of how calls ended: policy results, latencies, error codes."""

from collections.abc import Iterator

from django.db import connection

from aos_sdk.cus_wire import CusPolicyResult
from telemetry.cus_evidence.outcomes import BOUNDS_MS, OTHER
from telemetry.cus_signals.exposition import SHOWN, CusFamily, counter, labels_of
from telemetry.cus_sums import execute_sums

_LE = tuple(f"le_{bound}" for bound in BOUNDS_MS)
_SHARED = (*_LE, "latency_calls", "latency_sum_ms")
_RESULTS = tuple(result.value for result in CusPolicyResult)
_ENDED = f"""
SELECT integration.tenant_id::text, integration.id::text,
    {", ".join(f"coalesce(total.{name}, 0)" for name in (*_RESULTS, *_SHARED))}
FROM cus_integrations AS integration LEFT JOIN (
    SELECT tenant_id, integration_id,
        {", ".join(f"cus_sum(calls) FILTER (WHERE policy_result = '{name}') AS {name}" for name in _RESULTS)},
        {", ".join(f"cus_sum({name}) AS {name}" for name in _SHARED)}
    FROM (
        SELECT tenant_id, integration_id, policy_result,
            {", ".join(f"cus_sum({name}) AS {name}" for name in ("calls", *_SHARED))}
        FROM cus_outcome_totals GROUP BY 1, 2, 3
    ) AS by_result GROUP BY 1, 2
) AS total ON (total.tenant_id, total.integration_id) = (integration.tenant_id, integration.id)
WHERE {SHOWN}
"""  # noqa: S608  (the names are this module's own)
_ERRORS = f"""
SELECT integration.tenant_id::text, integration.id::text, total.error_code, total.calls
FROM cus_integrations AS integration LEFT JOIN (
    SELECT tenant_id, integration_id, error_code, cus_sum(calls) AS calls
    FROM cus_outcome_totals
    WHERE error_code <> '' AND policy_result <> '{CusPolicyResult.BLOCKED}' GROUP BY 1, 2, 3
) AS total ON (total.tenant_id, total.integration_id) = (integration.tenant_id, integration.id)
WHERE {SHOWN}
"""  # noqa: S608
_BUCKETS = (*(f',le="{bound / 1000:g}"' for bound in BOUNDS_MS), ',le="+Inf"')


def outcome_families() -> Iterator[CusFamily]:
    """Policy results, latencies and error codes of calls."""
    results = counter("cus_policy_results_total", "Reported calls by policy result.")
    latency = CusFamily("cus_llm_latency_seconds", "histogram", "Latency of calls that ran.")
    with connection.cursor() as cursor:
        execute_sums(cursor, _ENDED)
        rows = cursor.fetchall()
    whose = [labels_of(tenant_id, integration_id) for tenant_id, integration_id, *_ in rows]
    columns = list(zip(*rows, strict=True))[2:] if rows else [()] * (len(_RESULTS) + len(_SHARED))
    for result, calls in zip(_RESULTS, columns, strict=False):
        results.add_all(whose, calls, f',result="{result}"')
    *buckets, sums_ms = columns[len(_RESULTS) :]
    seconds = [f"{sum_ms // 1000}.{sum_ms % 1000:03d}" for sum_ms in sums_ms]
    counts = (("_bucket", bound, calls) for bound, calls in zip(_BUCKETS, buckets, strict=True))
    latency.add_histograms(whose, [*counts, ("_sum", "", seconds), ("_count", "", buckets[-1])])
    yield from (results, latency)
    yield _errors()


def _errors() -> CusFamily:
    errors = counter("cus_llm_errors_total", "Calls that ran and failed, by error code.")
    with connection.cursor() as cursor:
        execute_sums(cursor, _ERRORS)
        by_code: dict[str, dict[str, int]] = {}
        for tenant_id, integration_id, code, calls in cursor.fetchall():
            # From the start with one series, so that a first error raises the sum.
            found = by_code.setdefault(labels_of(tenant_id, integration_id), {OTHER: 0})
            if code is not None:
                found[code] = calls
    for whose, found in by_code.items():
        for code, calls in found.items():
            errors.add(f'{whose},error_code="{code}"', calls)
    return errors
