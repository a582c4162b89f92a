"""Rights of API tokens, what they changed, and where people are signed in (ruling C10).

Each new column has a constant default, so no row is written.
"""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0012_cus_proof"),
    ]

    operations = [
        migrations.AddField(
            model_name="cusapitoken",
            name="read_only",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Only GET requests; no change.",
                verbose_name="read only",
            ),
        ),
        migrations.AddField(
            model_name="cusapitoken",
            name="address_ranges",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=43),
                blank=True,
                db_default=[],
                default=list,
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="cusapitoken",
            name="last_refused_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="cusapitoken",
            name="last_refused_address",
            field=models.GenericIPAddressField(blank=True, editable=False, null=True),
        ),
        migrations.AddConstraint(
            model_name="cusapitoken",
            constraint=models.CheckConstraint(
                condition=models.Q(("may_change_access", True), ("read_only", True), _negated=True),
                name="cus_api_tokens_rights",
            ),
        ),
        migrations.CreateModel(
            name="CusSession",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("key_hash", models.CharField(max_length=64, unique=True)),
                ("signed_in_at", models.DateTimeField(null=True)),
                ("last_seen_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("address", models.GenericIPAddressField(null=True)),
                ("browser", models.CharField(max_length=60)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"verbose_name": "session", "db_table": "cus_sessions"},
        ),
        migrations.CreateModel(
            name="CusTokenChange",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("told_at", models.DateTimeField(null=True)),
                (
                    "entry",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="integrations.cusauditentry",
                    ),
                ),
                (
                    "person",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "token",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="integrations.cusapitoken",
                    ),
                ),
            ],
            options={"verbose_name": "change by token", "db_table": "cus_token_changes"},
        ),
    ]
