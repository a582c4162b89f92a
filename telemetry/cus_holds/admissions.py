"""SQL by which a check counts what was admitted, for each rate (rulings F4, F4a)."""

from integrations.cus_lifecycle.limits import RATES, Limit, Unit, Window
from telemetry.cus_evidence.admission_models import CusAdmissions
from telemetry.cus_money.amounts import MOST

_MINUTE = "interval '60 seconds'"
_SPAN = {Window.MINUTE: CusAdmissions.Span.SECOND, Window.DAY: CusAdmissions.Span.DAY}
_TABLES = ("cus_landed_admissions", "cus_running_admissions")


def _is_by_moments(limit: Limit) -> bool:
    """Whether the limit counts calls one by one, by their moments; else buckets are summed."""
    return limit.unit is Unit.CALLS and limit.window is Window.MINUTE


def admitted(limit: Limit) -> str:
    """SQL for what was admitted in a limit's window, without the calls of the check itself."""
    counted = _by_moments(limit) if _is_by_moments(limit) else _by_buckets(limit)
    return f"CASE WHEN integration.{limit.column} > 0 THEN {counted} ELSE 0 END"


def own_admitted(limit: Limit) -> str:
    """SQL that is true for a hold of the check's own calls that was taken in a limit's window."""
    if _is_by_moments(limit):
        return f"hold.taken_at > moment.now - {_MINUTE}"
    span = _SPAN[limit.window]
    return _is_counted(limit, f"date_trunc('{span}', hold.taken_at, 'UTC')")


def _is_counted(limit: Limit, start: str) -> str:
    """SQL for whether a limit counts a bucket."""
    if limit.window is Window.DAY:
        return f"{start} = date_trunc('day', moment.now, 'UTC')"
    # A second counts as long as any part of it is within the last 60 seconds.
    return f"{start} > moment.now - interval '61 seconds'"


def _by_buckets(limit: Limit) -> str:
    sums = " + ".join(
        f"""(SELECT coalesce(sum(bucket.{limit.unit}), 0) FROM {table} AS bucket
            WHERE bucket.tenant_id = $1 AND bucket.integration_id = $2
                AND bucket.span = '{_SPAN[limit.window]}' AND {_is_counted(limit, "bucket.start")})"""  # noqa: S608  (the names are the tables' own)
        for table in _TABLES
    )
    return f"greatest(least({sums} - own.{limit.admissions}, {MOST}), 0)::bigint"


def _by_moments(limit: Limit) -> str:
    """Counts up to the limit. What remains of a lease counts from when it was lent, as its rows do."""
    since, most = f"moment.now - {_MINUTE}", f"integration.{limit.column}"
    return f"""(
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
    )"""  # noqa: S608  (the names are the table's own)


# For the own hold of a call of the check: 1 for each rate in whose window it was taken, else 0.
OWN_ADMITTED = ", ".join(f"({own_admitted(limit)})::int" for limit in RATES)
# The sums of those holds, by which `_by_buckets` leaves them out.
OWN_SUMS = ", ".join(
    f"""coalesce(sum({"hold.tokens" if limit.unit is Unit.TOKENS else "1"})
        FILTER (WHERE {own_admitted(limit)}), 0) AS {limit.admissions}"""
    for limit in RATES
)


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
