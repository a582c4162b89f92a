"""The decision log, partitioned and guarded like evidence, and the totals of decisions."""

import django.db.models.functions.datetime
from django.db import migrations, models

LOG = """
CREATE TABLE cus_enforcement_decisions (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    integration_id uuid NOT NULL,
    call_id varchar(100) NOT NULL,
    result varchar(20) NOT NULL,
    reason varchar(50) NOT NULL,
    step smallint,
    degraded boolean NOT NULL DEFAULT false,
    decided_by varchar(10) NOT NULL,
    facts jsonb NOT NULL,
    reasons jsonb NOT NULL,
    evaluated_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, created_at, id),
    CONSTRAINT cus_enforcement_decisions_result CHECK (
        result IN ('allowed', 'warned', 'throttled', 'blocked', 'hard_blocked')),
    CONSTRAINT cus_enforcement_decisions_by CHECK (decided_by IN ('server', 'sdk'))
) PARTITION BY RANGE (created_at);
CREATE INDEX cus_enforcement_decisions_integration
    ON cus_enforcement_decisions (tenant_id, integration_id, created_at DESC);
CREATE INDEX cus_enforcement_decisions_call ON cus_enforcement_decisions (tenant_id, call_id);
CREATE INDEX cus_enforcement_decisions_received
    ON cus_enforcement_decisions USING brin (created_at);
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_enforcement_decisions
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
"""
# One row an integration, updated by each of its checks: room to stay in its page.
TOTALS = "ALTER TABLE cus_decision_totals SET (fillfactor = 30)"


class Migration(migrations.Migration):
    initial = True
    dependencies = [
        ("integrations", "0002_cus_guards"),
        ("telemetry", "0005_cus_overrun"),
    ]

    operations = [
        migrations.RunSQL(LOG, "DROP TABLE cus_enforcement_decisions"),
        migrations.CreateModel(
            name="CusEnforcementDecision",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("call_id", models.CharField(max_length=100)),
                (
                    "result",
                    models.CharField(
                        choices=[
                            ("allowed", "allowed"),
                            ("warned", "warned"),
                            ("throttled", "throttled"),
                            ("blocked", "blocked"),
                            ("hard_blocked", "hard_blocked"),
                        ],
                        max_length=20,
                    ),
                ),
                ("reason", models.CharField(max_length=50)),
                ("step", models.SmallIntegerField(null=True)),
                ("degraded", models.BooleanField(default=False)),
                (
                    "decided_by",
                    models.CharField(choices=[("server", "Server"), ("sdk", "SDK")], max_length=10),
                ),
                ("facts", models.JSONField()),
                ("reasons", models.JSONField()),
                ("evaluated_at", models.DateTimeField()),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "decision",
                "db_table": "cus_enforcement_decisions",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="CusDecisionTotals",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "integration_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("allowed", models.BigIntegerField(db_default=0)),
                ("warned", models.BigIntegerField(db_default=0)),
                ("throttled", models.BigIntegerField(db_default=0)),
                ("blocked", models.BigIntegerField(db_default=0)),
                ("hard_blocked", models.BigIntegerField(db_default=0)),
                ("degraded", models.BigIntegerField(db_default=0)),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "cus_decision_totals",
            },
        ),
        migrations.RunSQL(TOTALS, migrations.RunSQL.noop),
    ]
