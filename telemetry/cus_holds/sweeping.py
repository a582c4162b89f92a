"""Remove holds and leases that are over, and what rates no longer count."""

from django.db import connection

from telemetry.cus_evidence.models import CusCallLedger
from telemetry.cus_holds.limit_models import CusRunLimitCount

_SWEPT_AT_ONCE = 1_000
_LIMITS_SWEPT_AT_ONCE = 100_000
_SWEEP_HOLDS = f"""
WITH over AS (
    SELECT tenant_id, integration_id, call_id FROM cus_enforcement_holds AS hold
    WHERE expires_at <= clock_timestamp() OR EXISTS (
        SELECT FROM cus_call_ledger AS ledger WHERE ledger.tenant_id = hold.tenant_id
            AND ledger.call_hash = cus_call_hash(hold.call_id)
            AND ledger.integration_id IN (hold.integration_id, '{CusCallLedger.ANY_INTEGRATION}'))
    ORDER BY tenant_id, integration_id, call_id LIMIT %(most)s FOR UPDATE OF hold SKIP LOCKED
)
DELETE FROM cus_enforcement_holds AS hold USING over
WHERE hold.tenant_id = over.tenant_id AND hold.integration_id = over.integration_id
    AND hold.call_id = over.call_id
"""  # noqa: S608  (the names are the models' own)
_SWEEP_LEASES = """
WITH over AS (
    SELECT tenant_id, id FROM cus_enforcement_leases
    WHERE expires_at <= clock_timestamp() OR (set_aside_calls IS NOT NULL
        AND cents = 0 AND microcents = 0 AND tokens = 0 AND calls = 0)
    ORDER BY tenant_id, id LIMIT %(most)s FOR UPDATE SKIP LOCKED
)
DELETE FROM cus_enforcement_leases AS lease USING over
WHERE lease.tenant_id = over.tenant_id AND lease.id = over.id
"""
# Buckets that no rate counts any more, nor any ingest adds to (`cus_evidence.store`). One sweeper at
# a time, so that no two wait for each other's rows.
_SWEEP_ADMISSIONS = """
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtextextended('{table}', 0)) AS is_mine
), over AS (
    SELECT tenant_id, integration_id, span, start, shard FROM {table}, turn
    WHERE is_mine AND start < now()
        - CASE span WHEN 'second' THEN interval '5 minutes' ELSE interval '4 days' END
    LIMIT %(most)s
)
DELETE FROM {table} AS bucket USING over
WHERE bucket.tenant_id = over.tenant_id AND bucket.integration_id = over.integration_id
    AND bucket.span = over.span AND bucket.start = over.start AND bucket.shard = over.shard
"""
# Those of limits and integrations that are over. No check waits for a row that this has locked.
_SWEEP_ALLOTMENTS = """
WITH over AS (
    SELECT lent.tenant_id, lent.limit_id, lent.integration_id
    FROM cus_limit_allotments AS lent
        JOIN cus_scoped_limits AS scoped ON scoped.id = lent.limit_id
        JOIN cus_integrations AS integration ON integration.id = lent.integration_id
    WHERE least(scoped.deleted_at, scoped.valid_until, integration.deleted_at)
        < now() - interval '1 day'
    LIMIT %(most)s FOR UPDATE OF lent SKIP LOCKED
)
DELETE FROM cus_limit_allotments AS lent USING over
WHERE lent.tenant_id = over.tenant_id AND lent.limit_id = over.limit_id
    AND lent.integration_id = over.integration_id
"""
_ADMISSIONS = ("cus_landed_admissions", "cus_running_admissions")


def sweep() -> tuple[int, int]:
    """Remove holds and leases that are over, by the database's clock; return the numbers of both.

    Both count until they are swept, so this runs at least every 30 seconds (ruling F5b). Also
    removes a hold that was taken while its call was being stored: no later record would settle it;
    and a lease that was returned and whose calls have all landed; and sums that no rate counts.
    """
    for table in _ADMISSIONS:
        _sweep(_SWEEP_ADMISSIONS.format(table=table))
    return _sweep(_SWEEP_HOLDS), _sweep(_SWEEP_LEASES)


def _sweep(statement: str) -> int:
    swept: int = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(statement, {"most": _SWEPT_AT_ONCE})
            swept += cursor.rowcount
            if cursor.rowcount < _SWEPT_AT_ONCE:
                return swept


def sweep_limits() -> int:
    """Remove what limits at scopes no longer count; return the number of rows.

    Totals of windows that are over and of limits that are deleted or over, what such limits allotted,
    sums that came to nothing, and budgets in code that nobody has named for thirty days. All of it, however
    many values calls made up: what is used or held in the present window is all that stays. Then the
    budgets in code are counted.
    """
    swept = _sweep(_SWEEP_ALLOTMENTS)
    swept += sum(_sweep_all(function) for function in ("cus_sweep_limits", "cus_sweep_nothing"))
    _recount_runs()
    return swept


def _sweep_all(function: str) -> int:
    swept: int = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(f"SELECT {function}(%s)", [_LIMITS_SWEPT_AT_ONCE])
            (rows,) = cursor.fetchone()
            swept += int(rows)
            if rows < _LIMITS_SWEPT_AT_ONCE:
                return swept


def _recount_runs() -> None:
    # Each in a transaction of its own, because budgets that start meanwhile wait for it.
    with connection.cursor() as cursor:
        for count in CusRunLimitCount.objects.all():
            cursor.execute(
                "SELECT cus_recount_runs(%s, %s)", [count.tenant_id, count.integration_id]
            )
