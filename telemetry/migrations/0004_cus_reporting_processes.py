"""Which sequences of which process came, so that what is missing can be named."""

import django.db.models.functions.datetime
import telemetry.cus_reporting_models
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("telemetry", "0003_cus_bypass"),
    ]

    operations = [
        migrations.CreateModel(
            name="CusReportingProcess",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "integration_id",
                        "process_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("process_id", models.CharField(max_length=100)),
                (
                    "first_seen_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "last_seen_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("last_sequence", models.BigIntegerField(db_default=0)),
                ("dropped", models.JSONField(default=dict)),
                ("came", telemetry.cus_reporting_models.RangesField()),
            ],
            options={
                "verbose_name": "reporting process",
                "verbose_name_plural": "reporting processes",
                "db_table": "cus_reporting_processes",
                "indexes": [
                    models.Index(fields=["tenant_id", "-last_seen_at"], name="cus_processes_seen"),
                    models.Index(fields=["last_seen_at"], name="cus_processes_age"),
                ],
            },
        ),
        migrations.CreateModel(
            name="CusSequenceFold",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("covered_to", models.DateTimeField()),
            ],
            options={
                "db_table": "cus_sequence_folds",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="cus_sequence_folds_one_row"
                    )
                ],
            },
        ),
    ]
