"""Usage that becomes known later is appended, and totals follow in the same statement (ruling M5b)."""

import django.db.models.functions.datetime
from django.db import migrations, models

MOST = 2**63 - 1
TOKENS = (
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_cache_write",
    "tokens_cache_write_1h",
    "tokens_reasoning",
    "tokens_audio_in",
    "tokens_audio_out",
    "tokens_image_in",
)
UNITS = ("cents", "microcents", "tokens")
ADDED_SUMS = (
    "unpriced_unit_calls",
    "unmeasured",
    *(f"provisional_{unit}" for unit in UNITS),
    "settled",
    *(f"released_{unit}" for unit in UNITS),
)
SUMS = (
    *("calls", "errors", "blocked", "unpriced", "cost_mismatches", "tokens_mismatches"),
    *TOKENS,
    *("cost_cents", "cost_microcents", "counted_cents"),
    *(f"overrun_{unit}" for unit in UNITS),
    *ADDED_SUMS,
)
KEYS = {
    "cus_period_totals": ("tenant_id", "integration_id", "period", "shard"),
    "cus_lifetime_totals": ("tenant_id", "integration_id", "provider", "model", "shard"),
}
REFUSE = """RAISE EXCEPTION 'sums of % only grow, and stay where they are', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'Correct a fact by adding another one.';"""


def guards(table, sums):
    """The functions that keep these sums of a table from falling or starting below 0."""
    falls = " OR ".join(f"NEW.{name} < OLD.{name}" for name in sums)
    lowest = ", ".join(f"NEW.{name}" for name in sums)
    old, new = (", ".join(f"{row}.{name}" for name in KEYS[table]) for row in ("OLD", "NEW"))
    return f"""
CREATE OR REPLACE FUNCTION {table}_no_fall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {falls} OR ({old}) IS DISTINCT FROM ({new}) THEN {REFUSE} END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION {table}_no_start_below() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF LEAST({lowest}) < 0 THEN {REFUSE} END IF;
    RETURN NEW;
END $$;
"""


def all_guards(sums):
    """The guards' functions of both tables; their triggers stand."""
    return "".join(guards(table, sums) for table in KEYS)


# What a settlement adds to the sums of the month that is open, and what it takes out of its row's.
ADDS = {
    **{name: f"added.{name}::numeric" for name in TOKENS},
    "cost_cents": "added.cost_cents::numeric",
    "cost_microcents": "added.cost_microcents::numeric",
    "counted_cents": "added.counted_cents::numeric",
    "overrun_cents": "greatest(added.counted_cents::numeric - usage.estimate_cents, 0)",
    "overrun_microcents": "greatest(added.cost_microcents::numeric - usage.estimate_microcents, 0)",
    "overrun_tokens": (
        "greatest(added.tokens_in::numeric + added.tokens_out - usage.estimate_tokens, 0)"
    ),
    "unpriced": "(added.pricing = 'unknown')::int::numeric",
    "unpriced_unit_calls": "(added.unpriced_units IS NOT NULL)::int::numeric",
    "cost_mismatches": "(added.flags ? 'cost_mismatch')::int::numeric",
    "tokens_mismatches": "(added.flags ? 'tokens_mismatch')::int::numeric",
}
TAKES = {"settled": "1"} | {f"released_{unit}": f"usage.provisional_{unit}" for unit in UNITS}
OF_ROW = """JOIN cus_llm_usage AS usage ON usage.tenant_id = added.tenant_id
        AND usage.created_at = added.usage_created_at AND usage.id = added.usage_id"""


def _plus(name):
    return f"{name} = least(total.{name}::numeric + excluded.{name}, {MOST})::bigint"


def _upsert(table, keys, rows):
    names = (*ADDS, *TAKES)
    sums = ", ".join(f"least(sum({name}), {MOST})::bigint" for name in names)
    return f"""
    INSERT INTO {table} AS total ({", ".join(keys)}, shard, {", ".join(names)})
    SELECT {", ".join(keys)}, 0, {sums} FROM ({rows}) AS change
    GROUP BY {", ".join(keys)} ORDER BY {", ".join(keys)}
    ON CONFLICT ({", ".join(keys)}, shard) DO UPDATE SET {", ".join(map(_plus, names))};"""


def _month(moment):
    return f"date_trunc('month', {moment} AT TIME ZONE 'UTC')::date"


def _named(values):
    return ", ".join(f"{value} AS {name}" for name, value in values.items())


NOTHING_ADDED = dict.fromkeys(ADDS, "0::numeric")
NOTHING_TAKEN = dict.fromkeys(TAKES, "0")
PERIODS = f"""
        SELECT added.tenant_id, added.integration_id, {_month("usage.created_at")} AS period,
            {_named(NOTHING_ADDED | TAKES)} FROM added {OF_ROW}
        UNION ALL
        SELECT added.tenant_id, added.integration_id, {_month("now()")} AS period,
            {_named(ADDS | NOTHING_TAKEN)} FROM added {OF_ROW}"""
LIFETIMES = f"""
        SELECT added.tenant_id, added.integration_id, usage.provider, usage.model,
            {_named(ADDS | TAKES)} FROM added {OF_ROW}"""
# The month before the lifetime, as ingest does: so neither can hold what the other waits for.
SETTLEMENTS = f"""
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_usage_settlements
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
CREATE FUNCTION cus_add_settlements() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE wrong record;
BEGIN
    SELECT added.usage_id INTO wrong FROM added WHERE NOT EXISTS (
        SELECT FROM cus_llm_usage AS usage WHERE usage.tenant_id = added.tenant_id
            AND usage.created_at = added.usage_created_at AND usage.id = added.usage_id
            AND usage.integration_id = added.integration_id
            AND usage.pricing = 'unmeasured') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'a settlement names the usage row %, which is not stored as unmeasured',
            wrong.usage_id USING ERRCODE = 'restrict_violation';
    END IF;
    {_upsert("cus_period_totals", ("tenant_id", "integration_id", "period"), PERIODS)}
    {
    _upsert("cus_lifetime_totals", ("tenant_id", "integration_id", "provider", "model"), LIFETIMES)
}
    RETURN NULL;
END $$;
CREATE TRIGGER cus_add_settlements AFTER INSERT ON cus_usage_settlements
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION cus_add_settlements();
"""
SOURCES = [
    ("table", "Price table"),
    ("override", "Tenant's own price"),
    ("genai_prices", "genai-prices"),
    ("provider", "Cost as the provider's answer says"),
    ("unknown", "No price known"),
    ("unmeasured", "Usage not known"),
]
SETTLEMENT_FIELDS = [
    ("id", models.UUIDField(primary_key=True, serialize=False)),
    ("tenant_id", models.UUIDField()),
    ("integration_id", models.UUIDField()),
    ("usage_id", models.UUIDField()),
    ("usage_created_at", models.DateTimeField()),
    ("call_id", models.CharField(max_length=100)),
    ("response_id", models.CharField(max_length=200, null=True)),
    ("model", models.CharField(max_length=100)),
    ("tokens_in", models.PositiveIntegerField()),
    ("tokens_out", models.PositiveIntegerField()),
    *((name, models.PositiveIntegerField(db_default=0)) for name in TOKENS[2:]),
    ("tokens_total", models.PositiveIntegerField(null=True)),
    ("service_tier", models.CharField(max_length=50, null=True)),
    ("billed_units", models.JSONField(null=True)),
    ("turns", models.JSONField(null=True)),
    ("cost_cents", models.PositiveIntegerField()),
    ("cost_microcents", models.PositiveBigIntegerField()),
    ("counted_cents", models.PositiveBigIntegerField()),
    ("pricing", models.CharField(choices=SOURCES, max_length=20)),
    ("pricing_version", models.CharField(max_length=100, null=True)),
    ("price_id", models.UUIDField(null=True)),
    ("unpriced_units", models.JSONField(null=True)),
    ("reported_pricing_version", models.CharField(max_length=100, null=True)),
    ("provider_cost_microcents", models.BigIntegerField(null=True)),
    ("flags", models.JSONField(default=list)),
    ("process_id", models.CharField(max_length=100, null=True)),
    ("sequence", models.PositiveBigIntegerField(null=True)),
    ("occurred_at", models.DateTimeField()),
    (
        "created_at",
        models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
    ),
]


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0012_cus_facts_of_money")]

    operations = [
        *(
            migrations.AddField(model, name, models.BigIntegerField(db_default=0))
            for model in ("cuslifetimetotals", "cusperiodtotals")
            for name in ADDED_SUMS
        ),
        migrations.RunSQL(all_guards(SUMS), all_guards(SUMS[: -len(ADDED_SUMS)])),
        migrations.AlterField(
            "cuskeptprice", "source", models.CharField(choices=SOURCES, max_length=20)
        ),
        migrations.CreateModel(
            "CusUsageSettlement",
            fields=SETTLEMENT_FIELDS,
            options={
                "verbose_name": "usage settlement",
                "db_table": "cus_usage_settlements",
                "indexes": [
                    models.Index(
                        fields=["tenant_id", "-created_at"], name="cus_usage_settlements_tenant"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["tenant_id", "usage_id"], name="cus_usage_settlements_usage"
                    )
                ],
            },
        ),
        migrations.RunSQL(SETTLEMENTS, "DROP FUNCTION cus_add_settlements() CASCADE"),
    ]
