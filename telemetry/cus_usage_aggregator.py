"""Days of usage, recomputed whole from evidence (ruling E8a).

A run looks at which rows were received since the last one, and computes every day in which
one of them occurred anew, from all its rows. So a row that arrives late, or commits while a
run is reading, is never missed: the next run looks ten minutes further back than the last
one came, and an ingest transaction lasts thirty seconds at most.
"""

from datetime import date, datetime, timedelta

from django.db import connection, transaction

from telemetry.cus_analytics_models import CusRollupRun

_OVERLAP = timedelta(minutes=10)
# Facts are taken up to 35 days back (ruling E3), so after 36 a day can't change.
_FINAL_AFTER_DAYS = 36
_LOCK_KEY = 0x6375735F726F  # "cus_ro"

_TOUCHED_DAYS = """
SELECT DISTINCT (occurred_at AT TIME ZONE 'UTC')::date AS day FROM cus_llm_usage
WHERE created_at >= coalesce(%(since)s::timestamptz, '-infinity') AND created_at < %(until)s
    AND occurred_at >= %(oldest)s
ORDER BY day
"""

# A day's rows were received from five minutes before it (a clock that runs ahead) until it
# is final: the bounds keep other months' partitions out.
_COMPUTE_DAY = """
INSERT INTO cus_usage_daily AS daily (tenant_id, integration_id, date, total_calls,
    total_tokens_in, total_tokens_out, total_cost_cents, total_cost_microcents,
    avg_latency_ms, error_count, blocked_count, computed_at)
SELECT tenant_id, integration_id, %(day)s,
    count(*) FILTER (WHERE policy_result <> 'blocked'),
    sum(tokens_in), sum(tokens_out), sum(cost_cents), sum(cost_microcents),
    round(avg(latency_ms) FILTER (WHERE policy_result <> 'blocked')),
    count(*) FILTER (WHERE policy_result <> 'blocked' AND error_code IS NOT NULL),
    count(*) FILTER (WHERE policy_result = 'blocked'), now()
FROM cus_llm_usage
WHERE occurred_at >= %(day)s::timestamp AT TIME ZONE 'UTC'
    AND occurred_at < (%(day)s::timestamp + interval '1 day') AT TIME ZONE 'UTC'
    AND created_at >= (%(day)s::timestamp - interval '10 minutes') AT TIME ZONE 'UTC'
    AND created_at < (%(day)s::timestamp + interval '38 days') AT TIME ZONE 'UTC'
GROUP BY tenant_id, integration_id ORDER BY tenant_id, integration_id
ON CONFLICT (tenant_id, integration_id, date) DO UPDATE SET
    total_calls = excluded.total_calls,
    total_tokens_in = excluded.total_tokens_in,
    total_tokens_out = excluded.total_tokens_out,
    total_cost_cents = excluded.total_cost_cents,
    total_cost_microcents = excluded.total_cost_microcents,
    avg_latency_ms = excluded.avg_latency_ms,
    error_count = excluded.error_count,
    blocked_count = excluded.blocked_count,
    computed_at = excluded.computed_at
"""


def rollup_usage(now: datetime) -> list[date]:
    """Bring `cus_usage_daily` up to `now`; says which days were computed anew."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Two runs at once would do the same work; the second finds it done.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
        cursor.execute(
            _TOUCHED_DAYS,
            {
                "since": _since(),
                "until": now,
                "oldest": now - timedelta(days=_FINAL_AFTER_DAYS),
            },
        )
        days: list[date] = [day for (day,) in cursor.fetchall()]
        for day in days:
            cursor.execute(_COMPUTE_DAY, {"day": day})
        CusRollupRun.objects.create(covered_to=now, days=len(days))
        # Only the last run's mark is needed; the others are kept a week to look at.
        CusRollupRun.objects.filter(covered_to__lt=now - timedelta(days=7)).delete()
    return days


def _since() -> datetime | None:
    last = CusRollupRun.objects.order_by("-covered_to").first()
    return last.covered_to - _OVERLAP if last else None
