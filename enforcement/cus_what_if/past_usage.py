"""SQL for what was used before the first event of a simulation, as limits count it."""

from typing import Final

from aos_sdk.cus_limit_scopes import CusLimitScope
from telemetry.cus_money.amounts import capped, summed

CENTS: Final = (
    "coalesce(usage.counted_cents, greatest(usage.cost_cents, ceil(usage.cost_microcents / 1e6)))"
)


def _with_provisional(amount: str, unit: str) -> str:
    return capped(f"{amount}::numeric + coalesce(usage.provisional_{unit}, 0)")


# What budgets count of a call when its record comes; until it is settled, the provisional amounts.
SPENT: Final = f"""{_with_provisional(CENTS, "cents")},
    {_with_provisional("usage.cost_microcents", "microcents")},
    {_with_provisional("(usage.tokens_in::numeric + usage.tokens_out)", "tokens")}"""
OF_INTEGRATION: Final = "tenant_id = %(tenant)s AND integration_id = %(integration)s"
CAME: Final = "created_at >= %(began)s AND created_at < %(until)s"
REVISED_ROW: Final = """JOIN cus_llm_usage AS usage ON usage.tenant_id = revision.tenant_id
        AND usage.created_at = revision.usage_created_at AND usage.id = revision.usage_id"""
# Where a row has the name of a scope; of a tag all tags, which the rule of limits tells apart.
_NAME_OF: Final = {
    CusLimitScope.MODEL: "coalesce(usage.model_requested, usage.model)",
    CusLimitScope.AGENT: "usage.agent_id",
    CusLimitScope.SESSION: "usage.session_id",
    CusLimitScope.END_USER: "usage.end_user",
    CusLimitScope.TAG: "usage.tags",
}


def used_before(
    scope: str = CusLimitScope.INTEGRATION, *, named: bool = False, coming: bool = False
) -> str:
    """SQL for cents, microcents, tokens and calls since `since`, by what calls name of a scope.

    As `telemetry.cus_money.amounts.USED` counts. With `named` of the names in `names` alone; with
    `coming` of those that the events of the simulation name again, because history has no end.
    """
    name = _NAME_OF.get(CusLimitScope(scope), "''")
    of_names = f"AND {name} = ANY (%(names)s)" if named else ""
    if coming:
        events = f"SELECT {name} FROM cus_llm_usage AS usage WHERE {OF_INTEGRATION} AND {CAME}"  # noqa: S608  (the names are this module's own)
        of_names += f" AND {name} IN ({events})"
    of = f"usage.tenant_id = %(tenant)s AND usage.integration_id = %(integration)s {of_names}"
    came = "revision.created_at < %(began)s"
    return f"""
SELECT name, {summed("cents")}, {summed("microcents")}, {summed("tokens")}, {summed("calls")}
FROM (
    SELECT {name}, {SPENT}, (usage.policy_result <> 'blocked')::int FROM cus_llm_usage AS usage
    WHERE {of} AND usage.created_at >= %(since)s AND usage.created_at < %(began)s
    UNION ALL
    SELECT {name}, revision.counted_cents, revision.cost_microcents,
        revision.tokens_in::bigint + revision.tokens_out, 0
    FROM cus_usage_settlements AS revision {REVISED_ROW}
    WHERE {of} AND revision.created_at >= %(since)s AND {came}
    UNION ALL
    SELECT {name}, -usage.provisional_cents, -usage.provisional_microcents,
        -usage.provisional_tokens, 0
    FROM cus_usage_settlements AS revision {REVISED_ROW}
    WHERE {of} AND revision.usage_created_at >= %(since)s AND {came}
    UNION ALL
    SELECT {name}, 0, revision.difference_microcents, 0, 0
    FROM cus_cost_adjustments AS revision {REVISED_ROW}
    WHERE {of} AND revision.usage_created_at >= %(since)s AND {came}
) AS counted(name, cents, microcents, tokens, calls) WHERE name IS NOT NULL GROUP BY name
"""  # noqa: S608  (the names are this module's own)


# Calls that had begun on the day of `began`, as a limit of calls a day counts them.
ADMITTED_BEFORE: Final = f"""
SELECT count(*) FROM cus_llm_usage
WHERE {OF_INTEGRATION} AND created_at >= %(since)s AND created_at < %(began)s
    AND policy_result <> 'blocked' AND CASE WHEN admitted_at IS NULL
        THEN created_at - occurred_at <= interval '60 seconds' ELSE admitted_at >= %(since)s END
"""  # noqa: S608  (as above)
