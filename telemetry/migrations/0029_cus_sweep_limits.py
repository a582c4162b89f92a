"""What limits at scopes no longer count is removed, by the owner: nobody else may."""

from django.db import migrations

KEY = "tenant_id, limit_id, value, start, integration_id, shard"
HELD = tuple(
    f"{kind}_{name}"
    for kind in ("held", "leased")
    for name in ("calls", "cents", "microcents", "tokens")
)
ZERO = " AND ".join(f"sum({name}) = 0" for name in HELD)
SAME = "tenant_id, limit_id, value, start, integration_id"
# Rows that come to nothing together: whatever others add meanwhile, the sums stay the same.
SWEEP = f"""
CREATE FUNCTION cus_sweep_limits(most bigint) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
DECLARE swept bigint; more bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('cus_sweep_limits', 0)) THEN
        RETURN 0;
    END IF;
    DELETE FROM cus_run_limits WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM cus_run_limits WHERE used_at < now() - interval '30 days' LIMIT most));
    GET DIAGNOSTICS swept = ROW_COUNT;
    DELETE FROM cus_limit_totals AS total USING (
        SELECT {", ".join(f"one.{name}" for name in KEY.split(", "))}
        FROM cus_limit_totals AS one LEFT JOIN cus_scoped_limits AS scoped ON scoped.id = one.limit_id
        WHERE CASE WHEN scoped.id IS NULL THEN NOT EXISTS (
                SELECT FROM cus_run_limits AS run WHERE run.tenant_id = one.tenant_id
                    AND run.integration_id = one.integration_id AND run.session_id = one.value
                    AND run.limit_id = one.limit_id)
            ELSE least(scoped.deleted_at, scoped.valid_until) < now() - interval '1 day'
                OR one.start < now() - CASE scoped."window" WHEN 'minute' THEN interval '5 minutes'
                    WHEN 'day' THEN interval '3 days' WHEN 'week' THEN interval '10 days'
                    WHEN 'month' THEN interval '35 days' END
            END
        LIMIT most
    ) AS over WHERE ({", ".join(f"total.{name}" for name in KEY.split(", "))})
        = ({", ".join(f"over.{name}" for name in KEY.split(", "))});
    GET DIAGNOSTICS more = ROW_COUNT;
    swept := swept + more;
    WITH locked AS MATERIALIZED (
        SELECT * FROM cus_limit_holds ORDER BY {KEY} FOR UPDATE SKIP LOCKED
    ), over AS (
        SELECT {SAME} FROM locked GROUP BY {SAME} HAVING {ZERO}
        UNION ALL
        SELECT DISTINCT {SAME} FROM locked
        WHERE start > 'epoch'::timestamptz AND start < now() - interval '5 minutes'
    )
    DELETE FROM cus_limit_holds AS hold USING locked WHERE ({", ".join(f"hold.{name}" for name in KEY.split(", "))})
        = ({", ".join(f"locked.{name}" for name in KEY.split(", "))})
        AND ({", ".join(f"hold.{name}" for name in SAME.split(", "))}) IN (SELECT * FROM over);
    GET DIAGNOSTICS more = ROW_COUNT;
    RETURN swept + more;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0028_cus_limits_at_scopes")]

    operations = [migrations.RunSQL(SWEEP, "DROP FUNCTION cus_sweep_limits(bigint)")]
