"""The one statement that computes figures of hours from evidence, and the sums of such figures.

To be executed by `execute_sums`.
"""

import json
from collections.abc import Iterable

from aos_sdk.cus_fields import TOKEN_NAMES
from telemetry.cus_analytics.latency import BOUNDS_MS, BUCKETS
from telemetry.cus_analytics.models import GROUP

COSTS = ("cost_cents", "counted_cents", "cost_microcents")
UNITS = ("cents", "microcents", "tokens")
_PROVISIONAL = tuple(f"provisional_{unit}" for unit in UNITS)
# What identifies a row of `cus_usage_hourly` within a tenant.
KEY = ("hour", *GROUP)
# An hour of an integration tells so many sets of tags apart, so that a program that names each call
# by a tag does not make hours as many as calls. A set must fit into an index, too.
MOST_TAG_SETS = 100
_MOST_TAG_BYTES = 1_000
OTHER_TAGS = '["cus_tags=others"]'
# Figures of rows as recorded; the latency's are apart, because they are not all sums.
RECORDED = (
    *("calls", "errors", "blocked", "unpriced", "unpriced_unit_calls", "unmeasured"),
    *TOKEN_NAMES,
    *COSTS,
    *_PROVISIONAL,
)
SETTLED = (
    *("settled", "settled_unpriced", "settled_unpriced_unit_calls"),
    *(f"settled_{name}" for name in (*TOKEN_NAMES, *COSTS)),
    *(f"released_{unit}" for unit in UNITS),
)
CORRECTED = ("correction_microcents",)
LATENCY_SUMS = ("latency_calls", "latency_sum_ms")
SUMS = (*RECORDED, *SETTLED, *CORRECTED, *LATENCY_SUMS)
FIGURES = (*SUMS, "latency_max_ms", "latency_buckets")
# The names that §3.3 gives to figures of a day.
DAILY_NAMES = {
    "calls": "total_calls",
    "tokens_in": "total_tokens_in",
    "tokens_out": "total_tokens_out",
    "cost_cents": "total_cost_cents",
    "cost_microcents": "total_cost_microcents",
    "errors": "error_count",
    "blocked": "blocked_count",
}


def tags_in(text: str) -> list[str]:
    """The tags `key=value` of a column `tags` of hours and days."""
    return list(json.loads(text)) if text else []


def daily_name(figure: str) -> str:
    """The column of `cus_usage_daily` for a figure of `cus_usage_hourly`."""
    return DAILY_NAMES.get(figure, figure)


def sums_of(figures: Iterable[str], *, table: str = "figures") -> str:
    """SQL for the sums of these figures over rows that hold figures, each 0 if there are none."""
    return ", ".join(f"cus_sum({table}.{name}) AS {name}" for name in figures)


def buckets_of(table: str = "figures") -> str:
    """SQL for the sum of latency buckets; null if no row has any."""
    sums = ", ".join(f"cus_sum({table}.latency_buckets[{n}])" for n in range(1, BUCKETS + 1))
    return f"CASE WHEN cus_sum({table}.latency_calls) > 0 THEN ARRAY[{sums}] END"


def all_of(table: str = "figures") -> str:
    """SQL for all figures over rows that hold figures, in the order of `FIGURES`."""
    return (
        f"{sums_of(SUMS, table=table)}, max({table}.latency_max_ms) AS latency_max_ms, "
        f"{buckets_of(table)} AS latency_buckets"
    )


# Rows of a release that did not keep the counted cents (ruling M3a).
_COUNTED = """coalesce(counted_cents, greatest(cost_cents,
    cost_microcents / 1000000 + (cost_microcents %% 1000000 > 0)::int))"""
# Of INTEGER columns, PostgreSQL's own sum is BIGINT.
_OF_TOKENS_AND_COSTS = {
    **{name: f"sum({name})" for name in (*TOKEN_NAMES, "cost_cents")},
    "cost_microcents": "cus_sum(cost_microcents)",
    "counted_cents": f"cus_sum({_COUNTED})",
    **{name: f"cus_sum({name})" for name in _PROVISIONAL},
}
_OF_PRICES = {
    "unpriced": "count(*) FILTER (WHERE pricing = 'unknown')",
    "unpriced_unit_calls": "count(unpriced_units)",
    "unmeasured": "count(*) FILTER (WHERE pricing = 'unmeasured')",
}
OF_ROWS = {
    "calls": "count(*) FILTER (WHERE policy_result <> 'blocked')",
    "errors": "count(*) FILTER (WHERE policy_result <> 'blocked' AND error_code IS NOT NULL)",
    "blocked": "count(*) FILTER (WHERE policy_result = 'blocked')",
    **_OF_PRICES,
    **_OF_TOKENS_AND_COSTS,
}
OF_SETTLEMENTS = {
    "settled": "count(*)",
    "settled_unpriced": "count(*) FILTER (WHERE added.pricing = 'unknown')",
    "settled_unpriced_unit_calls": "count(added.unpriced_units)",
    **{f"settled_{name}": f"sum(added.{name})" for name in TOKEN_NAMES},
    **{f"settled_{name}": f"cus_sum(added.{name})" for name in COSTS},
    **{f"released_{unit}": f"cus_sum(usage.provisional_{unit})" for unit in UNITS},
}
OF_ADJUSTMENTS = {"correction_microcents": "cus_sum(added.difference_microcents)"}


def named(values: dict[str, str]) -> str:
    """SQL for values under their names."""
    return ", ".join(f"{value} AS {name}" for name, value in values.items())


def _hour_of(moment: str) -> str:
    # Ten times as fast as `date_trunc`, which looks up the zone for each row.
    return f"date_bin('1 hour', {moment}, '2000-01-01Z')"


def _tags_of(row: str) -> str:
    return f"""CASE WHEN octet_length({row}.tags::text) > {_MOST_TAG_BYTES} THEN '{OTHER_TAGS}'
        ELSE coalesce({row}.tags::text, '') END AS tags"""


def _additions(table: str, values: dict[str, str], model: str) -> str:
    """Sums over settlements or adjustments, which have the key of their row.

    If retention dropped the row, provider, model and agent are unknown; the amounts count still.
    """
    return f"""
    SELECT {_hour_of("added.occurred_at")} AS hour, added.integration_id,
        coalesce(usage.provider, '') AS provider, coalesce(usage.model, {model}) AS model,
        coalesce(usage.agent_id, '') AS agent_id,
        coalesce(usage.policy_result, 'allowed') AS policy_result,
        usage.error_code IS NOT NULL AS has_error, {_tags_of("usage")}, {named(values)}
    FROM {table} AS added LEFT JOIN LATERAL (
        SELECT * FROM cus_llm_usage AS row WHERE row.tenant_id = added.tenant_id
            AND row.created_at = added.usage_created_at AND row.id = added.usage_id
        OFFSET 0
    ) AS usage ON true
    WHERE added.tenant_id = %(tenant)s
        AND added.occurred_at >= %(start)s AND added.occurred_at < %(end)s
        AND added.created_at >= %(added_from)s
        AND (%(session)s::text IS NULL OR usage.session_id = %(session)s)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"""  # noqa: S608  (the names are this module's own)


# Latency buckets are counted in the same pass over the rows: first by bucket, then by key. What the
# key tells is asked of the groups, because rows are many: whether a call ran, and its tags as text.
# Bounds are floating-point numbers, which PostgreSQL compares without calling a function.
_ROWS = f"""
    SELECT {_hour_of("occurred_at")} AS hour, integration_id, provider, model,
        coalesce(agent_id, '') AS agent_id, policy_result, error_code IS NOT NULL AS has_error,
        tags, width_bucket(latency_ms, ARRAY{list(BOUNDS_MS)}::float8[]) AS bucket,
        count(*) AS rows, {named(_OF_PRICES | _OF_TOKENS_AND_COSTS)},
        coalesce(sum(latency_ms), 0) AS latency_sum_ms, max(latency_ms) AS latency_max_ms
    FROM cus_llm_usage AS usage
    WHERE tenant_id = %(tenant)s AND occurred_at >= %(start)s AND occurred_at < %(end)s
        AND created_at >= %(received_from)s AND created_at < %(received_to)s
        AND (%(integration)s::uuid IS NULL OR integration_id = %(integration)s)
        AND (%(session)s::text IS NULL OR session_id = %(session)s)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"""  # noqa: S608  (the names are this module's own)
_BUCKETS = ", ".join(f"cus_sum(rows) FILTER (WHERE bucket = {n})" for n in range(BUCKETS))
_RAN = "policy_result <> 'blocked'"
# The same figures as `OF_ROWS`, from groups of rows.
_OF_GROUPS = {
    "calls": f"cus_sum(rows) FILTER (WHERE {_RAN})",
    "errors": f"cus_sum(rows) FILTER (WHERE {_RAN} AND has_error)",
    "blocked": f"cus_sum(rows) FILTER (WHERE NOT {_RAN})",
    **{name: f"cus_sum({name})" for name in (*_OF_PRICES, *_OF_TOKENS_AND_COSTS)},
    # Without a latency there is no bucket.
    "latency_calls": f"cus_sum(rows) FILTER (WHERE {_RAN} AND bucket IS NOT NULL)",
    "latency_sum_ms": f"cus_sum(latency_sum_ms) FILTER (WHERE {_RAN})",
    "latency_max_ms": f"max(latency_max_ms) FILTER (WHERE {_RAN})",
}
_KEY = ", ".join(KEY)


def zero(names: Iterable[str]) -> str:
    """SQL for names that all are 0."""
    return ", ".join(f"0 AS {name}" for name in names)


# The figures of a tenant's calls that occurred in [start, end), by the key of an hour, with their
# settlements and corrections; of one integration and session, unless these are null.
# `received_from` and `received_to` bound when the rows came, which keeps the statement out of other
# months; settlements and corrections are those that came from `added_from` on.
HOURS = f"""
WITH part AS ({_ROWS}), recorded AS (
    SELECT hour, integration_id, provider, model, agent_id, policy_result, has_error,
        {_tags_of("part")}, {named(_OF_GROUPS)},
        CASE WHEN {_RAN} AND count(bucket) > 0 THEN ARRAY[{_BUCKETS}] END
            AS latency_buckets
    FROM part GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
), settlements AS ({_additions("cus_usage_settlements", OF_SETTLEMENTS, "added.model")}
), corrections AS ({_additions("cus_cost_adjustments", OF_ADJUSTMENTS, "''")}
), one AS (
    SELECT {_KEY}, {", ".join(RECORDED)}, {zero((*SETTLED, *CORRECTED))},
        {", ".join(LATENCY_SUMS)}, latency_max_ms, latency_buckets FROM recorded
    UNION ALL
    SELECT {_KEY}, {zero(RECORDED)}, {", ".join(SETTLED)}, {zero((*CORRECTED, *LATENCY_SUMS))},
        NULL, NULL FROM settlements
    UNION ALL
    SELECT {_KEY}, {zero((*RECORDED, *SETTLED))}, {", ".join(CORRECTED)}, {zero(LATENCY_SUMS)},
        NULL, NULL FROM corrections
), bounded AS (
    SELECT {", ".join(KEY[:-1])}, {", ".join(FIGURES)},
        CASE WHEN dense_rank() OVER (PARTITION BY hour, integration_id ORDER BY tags)
            > {MOST_TAG_SETS} THEN '{OTHER_TAGS}' ELSE tags END AS tags
    FROM one WHERE (%(integration)s::uuid IS NULL OR integration_id = %(integration)s)
)
SELECT {_KEY}, {all_of("bounded")} FROM bounded GROUP BY {_KEY}
"""  # noqa: S608  (the names are this module's own)
