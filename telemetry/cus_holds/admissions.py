"""SQL by which a check counts admitted calls, for each limit in calls (ruling F4)."""

from integrations.cus_lifecycle.limits import CALL_LIMITS, Limit, Window

_MINUTE = "interval '60 seconds'"
# The beginning of each window, in SQL.
_SINCE = {Window.MINUTE: f"moment.now - {_MINUTE}"}


def admitted(limit: Limit) -> str:
    """SQL that counts the calls admitted in a limit's window, up to the limit.

    What remains of a lease counts from when it was lent, as the rows of its calls do.
    The calls of the check itself are left out.
    """
    since, most = _SINCE[limit.window], f"integration.{limit.column}"
    return f"""CASE WHEN {most} > 0 THEN (
        SELECT least(coalesce(sum(lease.calls), 0), {most}::bigint + 1)::bigint
        FROM cus_enforcement_leases AS lease WHERE lease.tenant_id = $1
            AND lease.integration_id = $2 AND lease.taken_at > {since} AND lease.lent_cents >= 0
    ) + (
        SELECT count(*) FROM (
            SELECT 1 FROM cus_enforcement_holds AS hold WHERE hold.tenant_id = $1
                AND hold.integration_id = $2 AND hold.taken_at > {since}
                AND hold.cents >= 0
                AND hold.call_id <> ALL ($3)
            ORDER BY hold.taken_at DESC LIMIT {most}::bigint + 1
        ) AS running
    ) + (
        SELECT count(*) FROM (
            SELECT 1 FROM cus_llm_usage AS usage
            WHERE usage.tenant_id = $1 AND usage.integration_id = $2
                AND usage.created_at > {since}
                AND usage.policy_result <> 'blocked'
                AND CASE WHEN usage.admitted_at IS NULL
                    THEN usage.created_at - usage.occurred_at <= {_MINUTE}
                    ELSE usage.admitted_at > {since} END
            ORDER BY usage.created_at DESC LIMIT {most}::bigint + 1
        ) AS admissions
    ) ELSE 0 END"""  # noqa: S608  (the names are the table's own)


# For the own hold of a call of the check: 1 for each window in which the hold was taken, else 0.
OWN_ADMITTED = ", ".join(f"(taken_at > {_SINCE[limit.window]})::int" for limit in CALL_LIMITS)


# For people and metrics, of an `integration` in sight: what a check would count of its rate limit,
# at most one call beyond it.
ADMITTED_LAST_MINUTE = f"""(
    SELECT coalesce(sum(lease.calls), 0) FROM cus_enforcement_leases AS lease
    WHERE lease.tenant_id = integration.tenant_id AND lease.integration_id = integration.id
        AND lease.taken_at > now() - {_MINUTE}
) + (
    SELECT count(*) FROM (
        SELECT 1 FROM cus_enforcement_holds AS hold
        WHERE hold.tenant_id = integration.tenant_id AND hold.integration_id = integration.id
            AND hold.taken_at > now() - {_MINUTE} AND hold.cents >= 0
        LIMIT integration.rate_limit_rpm::bigint + 1
    ) AS running
) + (
    SELECT count(*) FROM (
        SELECT 1 FROM cus_llm_usage AS usage
        WHERE usage.tenant_id = integration.tenant_id AND usage.integration_id = integration.id
            AND usage.created_at > now() - {_MINUTE} AND usage.created_at <= now()
            AND usage.policy_result <> 'blocked'
            AND CASE WHEN usage.admitted_at IS NULL
                THEN usage.created_at - usage.occurred_at <= {_MINUTE}
                ELSE usage.admitted_at > now() - {_MINUTE} END
        ORDER BY usage.created_at DESC LIMIT integration.rate_limit_rpm::bigint + 1
    ) AS admissions
)"""  # noqa: S608  (the names are the tables' own)
