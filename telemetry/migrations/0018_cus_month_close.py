"""Months are closed by sealed statements; people enter the totals of providers' invoices."""

import uuid

import django.db.models.functions.datetime
from django.db import migrations, models

TABLES = ("cus_month_statements", "cus_provider_invoices")
APPEND_ONLY = "".join(
    f"""
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
"""
    for table in TABLES
)
ID = models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0017_cus_usage_anomalies")]

    operations = [
        migrations.CreateModel(
            "CusMonthStatement",
            fields=[
                ("id", ID),
                ("tenant_id", models.UUIDField()),
                ("month", models.DateField()),
                ("version", models.PositiveSmallIntegerField()),
                ("totals", models.JSONField()),
                ("groups", models.JSONField()),
                ("closed_by", models.UUIDField(null=True)),
                ("closed_at", models.DateTimeField()),
                ("digest", models.CharField(max_length=64)),
            ],
            options={
                "verbose_name": "month statement",
                "db_table": "cus_month_statements",
                "constraints": [
                    models.UniqueConstraint(
                        fields=["tenant_id", "month"], name="cus_month_statements_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            "CusProviderInvoice",
            fields=[
                ("id", ID),
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("month", models.DateField()),
                ("total_cents", models.BigIntegerField()),
                ("note", models.CharField(blank=True, max_length=500)),
                ("entered_by", models.UUIDField(null=True)),
                (
                    "entered_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "verbose_name": "provider invoice",
                "db_table": "cus_provider_invoices",
                "indexes": [
                    models.Index(
                        fields=["tenant_id", "month", "integration_id", "-entered_at"],
                        name="cus_provider_invoices_latest",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("total_cents__gte", 0)),
                        name="cus_provider_invoices_total",
                    )
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, migrations.RunSQL.noop),
    ]
