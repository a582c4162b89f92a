"""Events of hours that cost far more than is usual."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0016_cus_seals")]

    operations = [
        migrations.CreateModel(
            name="CusUsageAnomaly",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "integration_id",
                        "subject",
                        "name",
                        "hour",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                (
                    "subject",
                    models.CharField(
                        choices=[
                            ("integration", "Integration"),
                            ("model", "Model"),
                            ("agent", "Agent"),
                        ],
                        max_length=20,
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=100)),
                ("hour", models.DateTimeField()),
                ("cost_microcents", models.BigIntegerField()),
                ("usual_microcents", models.BigIntegerField()),
                ("weeks", models.SmallIntegerField()),
                (
                    "found_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "db_table": "cus_usage_anomalies",
                "indexes": [models.Index(fields=["hour"], name="cus_usage_anomalies_hour")],
            },
        ),
    ]
