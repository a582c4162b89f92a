"""Recompute whole days of usage from evidence (ruling E8a).

A run finds the rows received since the last run, and recomputes every day in which one of those
calls occurred, from all rows of the day. A run looks back ten minutes further than the last run
reached, and an ingest transaction lasts thirty seconds at most. So no run misses a row that arrives
late or commits while a run is reading.
"""

from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import connection, transaction

from telemetry.cus_analytics.models import CusRollupRun

_OVERLAP = timedelta(minutes=10)
# Ingest accepts facts up to `CUS_TELEMETRY_MAX_AGE_DAYS` old. A day later than that, the sums of a
# day can't change any more.
_MARGIN_DAYS = 1
_LOCK_KEY = 0x6375735F726F  # "cus_ro"

_TOUCHED_DAYS = """
SELECT DISTINCT (occurred_at AT TIME ZONE 'UTC')::date AS day FROM cus_llm_usage
WHERE created_at >= coalesce(%(since)s::timestamptz, '-infinity') AND created_at < %(until)s
ORDER BY day
"""

# A day's rows were received between five minutes before the day (a clock that runs ahead) and the
# moment when the day is final. The bounds keep the query out of other months' partitions.
_COMPUTE_DAY = """
INSERT INTO cus_usage_daily AS daily (tenant_id, integration_id, date, total_calls,
    total_tokens_in, total_tokens_out, total_cost_cents, total_cost_microcents,
    avg_latency_ms, error_count, blocked_count, computed_at)
SELECT tenant_id, integration_id, %(day)s,
    count(*) FILTER (WHERE policy_result <> 'blocked'),
    least(sum(tokens_in), 9223372036854775807), least(sum(tokens_out), 9223372036854775807), least(sum(cost_cents), 9223372036854775807), least(sum(cost_microcents), 9223372036854775807),
    round(avg(latency_ms) FILTER (WHERE policy_result <> 'blocked')),
    count(*) FILTER (WHERE policy_result <> 'blocked' AND error_code IS NOT NULL),
    count(*) FILTER (WHERE policy_result = 'blocked'), now()
FROM cus_llm_usage
WHERE occurred_at >= %(day)s::timestamp AT TIME ZONE 'UTC'
    AND occurred_at < (%(day)s::timestamp + interval '1 day') AT TIME ZONE 'UTC'
    AND created_at >= (%(day)s::timestamp - interval '10 minutes') AT TIME ZONE 'UTC'
    AND created_at < (%(day)s::timestamp + make_interval(days => %(final_after)s)) AT TIME ZONE 'UTC'
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


# Corrections are appended when a price proves wrong, for days of any age (ruling M9).
_CORRECT_DAYS = """
WITH adjusted AS (
    SELECT tenant_id, integration_id, (occurred_at AT TIME ZONE 'UTC')::date AS date,
        difference_microcents, created_at
    FROM cus_cost_adjustments
), corrected AS (
    SELECT tenant_id, integration_id, date, sum(difference_microcents) AS microcents
    FROM adjusted GROUP BY tenant_id, integration_id, date
    HAVING max(created_at) >= coalesce(%(since)s::timestamptz, '-infinity')
)
UPDATE cus_usage_daily AS daily
SET correction_microcents = corrected.microcents, computed_at = now()
FROM corrected
WHERE (daily.tenant_id, daily.integration_id, daily.date)
    = (corrected.tenant_id, corrected.integration_id, corrected.date)
"""


def rollup_usage(now: datetime) -> list[date]:
    """Bring `cus_usage_daily` up to `now`; return the recomputed days."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Without the lock, two runs at once would do the same work.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
        since = _since()
        # The day itself, the greatest delay of its calls, and a margin (ruling E8a).
        final_after = 1 + settings.CUS_TELEMETRY_MAX_AGE_DAYS + _MARGIN_DAYS
        cursor.execute(_TOUCHED_DAYS, {"since": since, "until": now})
        days: list[date] = [day for (day,) in cursor.fetchall()]
        for day in days:
            cursor.execute(_COMPUTE_DAY, {"day": day, "final_after": final_after})
        cursor.execute(_CORRECT_DAYS, {"since": since})
        CusRollupRun.objects.create(covered_to=now, days=len(days))
        # Only the last run is needed; earlier runs are kept a week for operators.
        CusRollupRun.objects.filter(covered_to__lt=now - timedelta(days=7)).delete()
    return days


def _since() -> datetime | None:
    last = CusRollupRun.objects.order_by("-covered_to").first()
    return last.covered_to - _OVERLAP if last else None
