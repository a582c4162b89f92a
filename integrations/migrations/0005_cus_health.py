"""Health: counters of each integration, and its append-only history."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import uuid
from django.db import migrations, models


APPEND_ONLY = """
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_health_transitions
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0004_cus_credentials"),
    ]

    operations = [
        migrations.AddField(
            model_name="cusintegration",
            name="consecutive_bad_keys",
            field=models.PositiveIntegerField(db_default=0, editable=False),
        ),
        migrations.AddField(
            model_name="cusintegration",
            name="consecutive_failures",
            field=models.PositiveIntegerField(db_default=0, editable=False),
        ),
        migrations.AddField(
            model_name="cusintegration",
            name="consecutive_passes",
            field=models.PositiveIntegerField(db_default=0, editable=False),
        ),
        migrations.AddField(
            model_name="cusintegration",
            name="consecutive_refusals",
            field=models.PositiveIntegerField(db_default=0, editable=False),
        ),
        migrations.AddField(
            model_name="cusintegration",
            name="health_latency_ms",
            field=models.PositiveIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="cusintegration",
            name="health_tests",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.DateTimeField(),
                blank=True,
                db_default=[],
                default=list,
                editable=False,
                size=None,
            ),
        ),
        migrations.CreateModel(
            name="CusHealthTransition",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("checked_at", models.DateTimeField()),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "health_from",
                    models.CharField(
                        choices=[
                            ("unknown", "Unknown"),
                            ("healthy", "Healthy"),
                            ("degraded", "Degraded"),
                            ("failing", "Failing"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "health_to",
                    models.CharField(
                        choices=[
                            ("unknown", "Unknown"),
                            ("healthy", "Healthy"),
                            ("degraded", "Degraded"),
                            ("failing", "Failing"),
                        ],
                        max_length=20,
                        verbose_name="health",
                    ),
                ),
                (
                    "credential_from",
                    models.CharField(
                        choices=[
                            ("unknown", "Not checked yet"),
                            ("valid", "Valid"),
                            ("invalid", "Invalid"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "credential_to",
                    models.CharField(
                        choices=[
                            ("unknown", "Not checked yet"),
                            ("valid", "Valid"),
                            ("invalid", "Invalid"),
                        ],
                        max_length=20,
                        verbose_name="credential",
                    ),
                ),
                (
                    "status_from",
                    models.CharField(
                        choices=[
                            ("created", "Created"),
                            ("enabled", "Enabled"),
                            ("disabled", "Disabled"),
                            ("error", "Error"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "status_to",
                    models.CharField(
                        choices=[
                            ("created", "Created"),
                            ("enabled", "Enabled"),
                            ("disabled", "Disabled"),
                            ("error", "Error"),
                        ],
                        max_length=20,
                        verbose_name="status",
                    ),
                ),
                ("verdict", models.CharField(max_length=30)),
                ("message", models.TextField()),
                ("latency_ms", models.PositiveIntegerField(null=True)),
                (
                    "integration",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="health_transitions",
                        to="integrations.cusintegration",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="integrations.custenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "health transition",
                "db_table": "cus_health_transitions",
                "ordering": ["-checked_at"],
                "indexes": [
                    models.Index(
                        fields=["tenant", "-checked_at"], name="cus_health_transitions_tenant"
                    ),
                    models.Index(
                        fields=["integration", "-checked_at"], name="cus_health_transitions_one"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("health_from__in", ["unknown", "healthy", "degraded", "failing"]),
                            ("health_to__in", ["unknown", "healthy", "degraded", "failing"]),
                            ("credential_from__in", ["unknown", "valid", "invalid"]),
                            ("credential_to__in", ["unknown", "valid", "invalid"]),
                            ("status_from__in", ["created", "enabled", "disabled", "error"]),
                            ("status_to__in", ["created", "enabled", "disabled", "error"]),
                        ),
                        name="cus_health_transitions_states_known",
                    )
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, "DROP TRIGGER cus_append_only ON cus_health_transitions"),
    ]
