"""Totals and coverage refuse to fall, whoever writes; corrections follow the adjustments appended."""

from django.db import migrations

SUMS = (
    "calls",
    "errors",
    "blocked",
    "unpriced",
    "cost_mismatches",
    "tokens_mismatches",
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_cache_write",
    "tokens_cache_write_1h",
    "tokens_reasoning",
    "tokens_audio_in",
    "tokens_audio_out",
    "tokens_image_in",
    "cost_cents",
    "cost_microcents",
    "counted_cents",
    "overrun_cents",
    "overrun_microcents",
    "overrun_tokens",
)
KEYS = {
    "cus_period_totals": ("tenant_id", "integration_id", "period", "shard"),
    "cus_lifetime_totals": ("tenant_id", "integration_id", "provider", "model", "shard"),
    "cus_bypass_hours": ("tenant_id", "integration_id", "hour"),
}
GUARDED = {
    "cus_period_totals": SUMS,
    "cus_lifetime_totals": SUMS,
    "cus_bypass_hours": ("governed_calls", "bypassed_calls"),
}
REFUSE = """RAISE EXCEPTION 'sums of % only grow, and stay where they are', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'Correct a fact by adding another one.';"""
FUNCTION = f"""
CREATE FUNCTION cus_refuse_fall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {REFUSE}
END $$;
"""


def guards(table):
    """The triggers that keep a table's sums from falling, moving or going away.

    The condition stands in a function and not in WHEN: PostgreSQL reads the text of a WHEN anew for
    each statement, which took a batch of one record a sixth of its time.
    """
    falls = " OR ".join(f"NEW.{name} < OLD.{name}" for name in GUARDED[table])
    lowest = ", ".join(f"NEW.{name}" for name in GUARDED[table])
    old, new = (", ".join(f"{row}.{name}" for name in KEYS[table]) for row in ("OLD", "NEW"))
    return f"""
CREATE FUNCTION {table}_no_fall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {falls} OR ({old}) IS DISTINCT FROM ({new}) THEN {REFUSE} END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION {table}_no_start_below() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF LEAST({lowest}) < 0 THEN {REFUSE} END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cus_no_fall BEFORE UPDATE ON {table}
    FOR EACH ROW EXECUTE FUNCTION {table}_no_fall();
CREATE TRIGGER cus_no_start_below BEFORE INSERT ON {table}
    FOR EACH ROW EXECUTE FUNCTION {table}_no_start_below();
CREATE TRIGGER cus_no_end BEFORE DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_fall();
"""


# An adjustment of a call that is not stored would correct a month by nothing anybody can look at.
CORRECTIONS = """
CREATE FUNCTION cus_add_corrections() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE wrong record;
BEGIN
    SELECT added.usage_id INTO wrong FROM added WHERE NOT EXISTS (
        SELECT FROM cus_llm_usage AS usage WHERE usage.tenant_id = added.tenant_id
            AND usage.created_at = added.usage_created_at AND usage.id = added.usage_id
            AND usage.integration_id = added.integration_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'an adjustment names the usage row %, which is not stored', wrong.usage_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    -- The month before the lifetime, as ingest does: so neither can hold what the other waits for.
    INSERT INTO cus_period_totals AS total
        (tenant_id, integration_id, period, shard, correction_microcents)
    SELECT tenant_id, integration_id,
        date_trunc('month', usage_created_at AT TIME ZONE 'UTC')::date, 0,
        sum(difference_microcents)
    FROM added GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, integration_id, period, shard) DO UPDATE SET
        correction_microcents = total.correction_microcents + excluded.correction_microcents;
    INSERT INTO cus_lifetime_totals AS total
        (tenant_id, integration_id, provider, model, shard, correction_microcents)
    SELECT usage.tenant_id, usage.integration_id, usage.provider, usage.model, 0,
        sum(added.difference_microcents)
    FROM added JOIN cus_llm_usage AS usage ON usage.tenant_id = added.tenant_id
        AND usage.created_at = added.usage_created_at AND usage.id = added.usage_id
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (tenant_id, integration_id, provider, model, shard) DO UPDATE SET
        correction_microcents = total.correction_microcents + excluded.correction_microcents;
    RETURN NULL;
END $$;
CREATE TRIGGER cus_add_corrections AFTER INSERT ON cus_cost_adjustments
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION cus_add_corrections();
"""
FUNCTIONS = (
    "cus_refuse_fall",
    "cus_add_corrections",
    *(f"{table}_{guard}" for table in GUARDED for guard in ("no_fall", "no_start_below")),
)
BACK = " ".join(f"DROP FUNCTION {name}() CASCADE;" for name in FUNCTIONS)


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0010_cus_counted_cents")]

    operations = [
        migrations.RunSQL("".join((FUNCTION, *map(guards, GUARDED), CORRECTIONS)), BACK),
    ]
