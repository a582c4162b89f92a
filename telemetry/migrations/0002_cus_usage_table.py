"""What Django can't express: the partitioned usage table, and the guards of evidence.

Measured choices: no foreign keys on evidence (they cost over a third of ingest), the
indexes of §3.2, a BRIN index for time ranges across tenants, room in the pages of totals so
that their updates stay in place.
"""

from django.db import migrations

USAGE = """
CREATE TABLE cus_llm_usage (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    integration_id uuid NOT NULL,
    session_id varchar(100),
    agent_id varchar(100),
    call_id varchar(100) NOT NULL,
    provider varchar(50) NOT NULL,
    model varchar(100) NOT NULL,
    operation varchar(20) NOT NULL DEFAULT 'other',
    stream boolean NOT NULL DEFAULT false,
    tokens_in integer NOT NULL,
    tokens_out integer NOT NULL,
    tokens_cached integer NOT NULL DEFAULT 0,
    tokens_cache_write integer NOT NULL DEFAULT 0,
    tokens_cache_write_1h integer NOT NULL DEFAULT 0,
    tokens_reasoning integer NOT NULL DEFAULT 0,
    tokens_audio_in integer NOT NULL DEFAULT 0,
    tokens_audio_out integer NOT NULL DEFAULT 0,
    tokens_image_in integer NOT NULL DEFAULT 0,
    tokens_total integer,
    service_tier varchar(50),
    billed_units jsonb,
    cost_cents integer NOT NULL,
    cost_microcents bigint NOT NULL,
    pricing varchar(20) NOT NULL,
    pricing_version varchar(100),
    price_id uuid,
    reported_pricing_version varchar(100),
    latency_ms integer,
    policy_result varchar(20) NOT NULL DEFAULT 'allowed',
    error_code varchar(50),
    error_message text,
    metadata jsonb NOT NULL DEFAULT '{}',
    flags jsonb NOT NULL DEFAULT '[]',
    sent_timestamp text,
    process_id varchar(100),
    sequence bigint,
    lease_id uuid,
    degraded boolean NOT NULL DEFAULT false,
    admitted_at timestamptz,
    occurred_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, created_at, id),
    CONSTRAINT cus_llm_usage_policy_result CHECK (policy_result IN ('allowed', 'warned', 'blocked')),
    CONSTRAINT cus_llm_usage_pricing
        CHECK (pricing IN ('table', 'override', 'genai_prices', 'unknown')),
    CONSTRAINT cus_llm_usage_tokens CHECK (
        tokens_in >= 0 AND tokens_out >= 0 AND tokens_cached >= 0 AND tokens_cache_write >= 0
        AND tokens_cache_write_1h >= 0 AND tokens_reasoning >= 0 AND tokens_audio_in >= 0
        AND tokens_audio_out >= 0 AND tokens_image_in >= 0 AND tokens_total >= 0),
    CONSTRAINT cus_llm_usage_cost CHECK (cost_cents >= 0 AND cost_microcents >= 0),
    CONSTRAINT cus_llm_usage_latency CHECK (latency_ms >= 0),
    CONSTRAINT cus_llm_usage_call_id CHECK (call_id <> '')
) PARTITION BY RANGE (created_at);
CREATE INDEX cus_llm_usage_tenant ON cus_llm_usage (tenant_id, created_at DESC);
CREATE INDEX cus_llm_usage_integration
    ON cus_llm_usage (tenant_id, integration_id, created_at DESC);
CREATE INDEX cus_llm_usage_agent ON cus_llm_usage (tenant_id, agent_id, created_at DESC);
CREATE INDEX cus_llm_usage_call ON cus_llm_usage (call_id);
CREATE INDEX cus_llm_usage_received ON cus_llm_usage USING brin (created_at);
"""

GUARDS = """
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_llm_usage
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_call_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_kept_prices
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_cost_adjustments
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
"""

TOTALS = """
ALTER TABLE cus_lifetime_totals SET (fillfactor = 30);
ALTER TABLE cus_period_totals SET (fillfactor = 30);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0002_cus_guards"),
        ("telemetry", "0001_cus_telemetry"),
    ]

    operations = [
        migrations.RunSQL(USAGE, "DROP TABLE cus_llm_usage"),
        migrations.RunSQL(
            GUARDS,
            "DROP TRIGGER cus_append_only ON cus_call_ledger;"
            "DROP TRIGGER cus_append_only ON cus_kept_prices;"
            "DROP TRIGGER cus_append_only ON cus_cost_adjustments",
        ),
        migrations.RunSQL(TOTALS, migrations.RunSQL.noop),
    ]
