"""`python -m benchmarks.cus_scrape [--integrations N …]`: scrapes of `/metrics`, on servers of its own.

Over HTTP from the product's own web server, compressed as Prometheus asks, with all kinds of series: three
models an integration in all shards, outcomes with errors, decisions by reason, budgets, rate
limits with 20 calls a minute, holds, processes with gaps. The exit code is 1 above the target.
"""

import argparse
import gzip
import os
import sys
import time
from collections.abc import Sequence
from http.client import HTTPConnection

from aos_project.cus_embedded import ServiceError, throw_away_services

_SIZES = (100, 1_000)
_ROUNDS = 200
_WARM = 5


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.cus_scrape", description=__doc__)
    parser.add_argument("--integrations", type=int, nargs="+", default=_SIZES)
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="scrapes of each size")
    options = parser.parse_args(arguments)
    try:
        with throw_away_services(durable=True) as environment:
            os.environ.update(environment)
            return _run(sorted(options.integrations), options.rounds)
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(sizes: Sequence[int], rounds: int) -> int:
    # The settings are read from the environment, so nothing of Django's may come before it.
    os.environ["DJANGO_SETTINGS_MODULE"] = "aos_project.settings"
    import django

    django.setup()
    from django.conf import settings

    from benchmarks.cus_conditions import machine
    from benchmarks.cus_databases import prepare
    from benchmarks.cus_report import Section, new_console
    from benchmarks.cus_rounds import percentile
    from benchmarks.cus_served import PRODUCT, served
    from benchmarks.cus_targets import SCRAPE_P99

    prepare()
    console = new_console()
    machine(("django", "prometheus-client", "psycopg")).show(console)
    section = Section(
        f"Scrapes of /metrics over HTTP, {rounds} of each size",
        ("integrations", "series", "MiB", "p50 ms", "p99 ms", "target"),
    )
    failed = False
    for size in sizes:
        _fill(size)
        with served(PRODUCT, str(settings.DATABASES["default"]["NAME"])) as port:
            page, times = _scraped(port, rounds)
        slowest = percentile(times, 0.99)
        failed |= not SCRAPE_P99.reached(slowest)
        series = sum(not line.startswith(b"#") for line in page.splitlines())
        section.rows.append(
            (
                f"{size:,}", f"{series:,}", f"{len(page) / 2**20:.1f}",
                f"{percentile(times, 0.5):.0f}", f"{slowest:.0f}", SCRAPE_P99.verdict(slowest),
            )
        )  # fmt: skip
    section.show(console)
    return int(failed)


def _scraped(port: int, rounds: int) -> tuple[bytes, list[float]]:
    """The last page, and each scrape's time in milliseconds until all of it is there, compressed."""
    times = []
    page = b""
    for number in range(_WARM + rounds):
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        started = time.perf_counter()
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        page = answer.read()
        if number >= _WARM:
            times.append((time.perf_counter() - started) * 1_000)
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"/metrics answered {answer.status}: {page[:200]!r}")
    return gzip.decompress(page), times


def _fill(size: int) -> None:
    """Bring the database to so many integrations, each with everything that has series."""
    from django.conf import settings

    from benchmarks.cus_databases import superuser
    from integrations.cus_accounts.models import CusTenant
    from integrations.cus_lifecycle.models import CusIntegration

    tenants = CusTenant.objects.bulk_create(
        CusTenant(name=f"Scraped {number} of {size}") for number in range(10)
    )
    have = CusIntegration.objects.count()
    CusIntegration.objects.bulk_create(
        CusIntegration(
            tenant=tenants[number % len(tenants)],
            name=f"Integration {number}",
            provider_type="openai",
            credential_ref=f"db://{number}",
            status="enabled",
            budget_limit_cents=100_000,
            token_limit_month=10**9,
            rate_limit_rpm=600,
            coverage_percent=99,
        )
        for number in range(have, size)
    )
    with superuser(str(settings.DATABASES["default"]["NAME"])) as database:
        database.execute("SET session_replication_role = replica")
        for statement in _FACTS:
            database.execute(statement.encode())
        database.execute("ANALYZE")


_NEW = """FROM cus_integrations AS one WHERE NOT EXISTS (
    SELECT FROM {table} AS total WHERE total.integration_id = one.id)"""


def _of_new(table: str) -> str:
    return f"(SELECT one.tenant_id, one.id {_NEW.format(table=table)}) AS one"


# The names are this module's own.
_FACTS = (
    f"""INSERT INTO cus_lifetime_totals (tenant_id, integration_id, provider, model, shard, calls,
        tokens_in, tokens_out, tokens_cached, cost_cents, counted_cents, cost_microcents)
    SELECT tenant_id, id, 'openai', model, shard, 1000, 500000, 200000, 90000, 1000, 1000, 654321098
    FROM {_of_new("cus_lifetime_totals")}, generate_series(0, 7) AS shard,
        unnest('{{gpt-4o,gpt-4o-mini,o3}}'::text[]) AS model""",  # noqa: S608
    f"""INSERT INTO cus_outcome_totals (tenant_id, integration_id, policy_result, error_code, shard,
        calls, latency_calls, latency_sum_ms, le_100, le_300, le_1000, le_5000, le_120000)
    SELECT tenant_id, id, outcome.result, outcome.code, shard, 3000, 3000, 2000000, 5, 500, 2000,
        2500, 3000
    FROM {_of_new("cus_outcome_totals")}, generate_series(0, 7) AS shard,
        (VALUES ('allowed', ''), ('warned', ''), ('allowed', 'RateLimitError'),
            ('allowed', 'APITimeoutError'), ('blocked', 'budget_exceeded'))
        AS outcome(result, code)""",  # noqa: S608
    f"""INSERT INTO cus_period_totals (tenant_id, integration_id, period, shard, calls, tokens_in,
        tokens_out, cost_cents, counted_cents, cost_microcents)
    SELECT tenant_id, id, (date_trunc('month', now() AT TIME ZONE 'UTC') - past * interval '1 month'),
        shard, 1000, 500000, 200000, 1000, 1000, 654321098
    FROM {_of_new("cus_period_totals")}, generate_series(0, 7) AS shard,
        generate_series(0, 11) AS past""",  # noqa: S608
    f"""INSERT INTO cus_decision_totals (tenant_id, integration_id, allowed, warned, throttled,
        blocked) SELECT tenant_id, id, 5000, 40, 30, 20 FROM {_of_new("cus_decision_totals")}""",  # noqa: S608
    f"""INSERT INTO cus_decision_reasons (tenant_id, integration_id, result, reason, decisions)
    SELECT tenant_id, id, decision.result, decision.reason, 10
    FROM {_of_new("cus_decision_reasons")}, (VALUES ('warned', 'budget_warning'),
        ('throttled', 'rate_limit_exceeded'), ('blocked', 'budget_exceeded'),
        ('blocked', 'estimate_exceeds_room')) AS decision(result, reason)""",  # noqa: S608
    f"""INSERT INTO cus_hold_sums (tenant_id, integration_id, shard, calls, cents, microcents, tokens)
    SELECT tenant_id, id, shard, 2, 2, 2000000, 2000
    FROM {_of_new("cus_hold_sums")}, generate_series(0, 7) AS shard""",  # noqa: S608
    f"""INSERT INTO cus_reporting_processes (tenant_id, integration_id, process_id, last_sequence,
        dropped, came)
    SELECT tenant_id, id, 'process-' || number, 5000, '{{"full": 3}}',
        CASE number WHEN 1 THEN '{{[1,2000),[2010,4000),[4003,5001)}}' ELSE '{{[1,5001)}}'
            END::int8multirange
    FROM {_of_new("cus_reporting_processes")}, generate_series(1, 4) AS number""",  # noqa: S608
    "INSERT INTO cus_sequence_folds VALUES (1, now()) ON CONFLICT DO NOTHING",
    # A call in three seconds of each integration while we measure, made anew for each size.
    """INSERT INTO cus_llm_usage (id, tenant_id, integration_id, call_id, provider, model, operation,
        tokens_in, tokens_out, cost_cents, cost_microcents, pricing, occurred_at, created_at)
    SELECT gen_random_uuid(), tenant_id, id, 'call-' || second, 'openai', 'gpt-4o', 'chat', 100, 50,
        1, 75000, 'table', moment, moment
    FROM generate_series(-60, 300, 3) AS second, cus_integrations,
        LATERAL (SELECT now() + second * interval '1 second' AS moment) AS at""",
)

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
