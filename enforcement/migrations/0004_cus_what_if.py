"""Simulations, and what calls teach for the estimates of later calls."""

import django.contrib.postgres.fields
import django.db.models.functions.datetime
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("enforcement", "0003_cus_counts_do_not_fall"),
    ]

    operations = [
        migrations.CreateModel(
            name="CusAnsweringModel",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "integration_id",
                        "name",
                        "model",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("name", models.CharField(max_length=100)),
                ("model", models.CharField(max_length=100)),
                ("since", models.DateTimeField()),
                ("last_answered_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "answering model",
                "db_table": "cus_answering_models",
            },
        ),
        migrations.CreateModel(
            name="CusLearnedOutput",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "integration_id",
                        "model",
                        "operation",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("model", models.CharField(max_length=100)),
                ("operation", models.CharField(max_length=20)),
                (
                    "outputs",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.IntegerField(), size=None
                    ),
                ),
                ("estimate_tokens", models.BigIntegerField(null=True)),
                ("changed_at", models.DateTimeField(null=True)),
                ("last_call_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "learned output",
                "db_table": "cus_learned_outputs",
            },
        ),
        migrations.CreateModel(
            name="CusLearningMark",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("learned_until", models.DateTimeField()),
            ],
            options={
                "db_table": "cus_learning_marks",
            },
        ),
        migrations.CreateModel(
            name="CusSimulation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("asked_by", models.UUIDField(null=True)),
                ("days", models.PositiveSmallIntegerField()),
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("proposal", models.JSONField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                        ],
                        db_default="waiting",
                        max_length=10,
                    ),
                ),
                ("rows", models.PositiveBigIntegerField(db_default=0)),
                ("rows_done", models.PositiveBigIntegerField(db_default=0)),
                ("result", models.JSONField(null=True)),
                ("error", models.TextField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "updated_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "simulation",
                "db_table": "cus_simulations",
                "indexes": [
                    models.Index(
                        fields=["tenant_id", "integration_id", "-created_at"],
                        name="cus_simulations_latest",
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("status__in", ["waiting", "running", "done", "failed"])
                        ),
                        name="cus_simulations_status_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("days__range", (1, 90))), name="cus_simulations_days"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ["waiting", "running"])),
                        fields=("tenant_id", "integration_id"),
                        name="cus_simulations_one_at_a_time",
                    ),
                ],
            },
        ),
    ]
