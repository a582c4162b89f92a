"""The control plane: open errors, coverage, invitations, and the audit trail with its guard."""

import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
import uuid
from django.conf import settings
from django.db import migrations, models


AUDIT_GUARD = """
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_audit_trail
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0002_cus_guards"),
    ]

    operations = [
        migrations.CreateModel(
            name="CusAuditEntry",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("actor_label", models.CharField(max_length=255, verbose_name="who")),
                ("action", models.CharField(max_length=50)),
                ("object_type", models.CharField(max_length=50)),
                ("object_id", models.CharField(max_length=64)),
                ("object_label", models.CharField(max_length=255, verbose_name="what")),
                ("changes", models.JSONField(default=dict)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(),
                        editable=False,
                        verbose_name="when",
                    ),
                ),
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit trail",
                "db_table": "cus_audit_trail",
            },
        ),
        migrations.AddField(
            model_name="cusintegration",
            name="coverage_percent",
            field=models.DecimalField(
                blank=True,
                decimal_places=2,
                editable=False,
                max_digits=5,
                null=True,
                verbose_name="coverage (%)",
            ),
        ),
        migrations.AddField(
            model_name="cusintegration",
            name="error_reason",
            field=models.TextField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="cusintegration",
            name="status_before_error",
            field=models.CharField(
                blank=True,
                choices=[
                    ("created", "Created"),
                    ("enabled", "Enabled"),
                    ("disabled", "Disabled"),
                    ("error", "Error"),
                ],
                editable=False,
                max_length=20,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="cusmembership",
            name="invited_email",
            field=models.EmailField(
                blank=True, max_length=254, null=True, verbose_name="invited address"
            ),
        ),
        migrations.AlterField(
            model_name="cusmembership",
            name="user",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="membership",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddConstraint(
            model_name="cusintegration",
            constraint=models.CheckConstraint(
                condition=models.Q(("coverage_percent__range", (0, 100))),
                name="cus_integrations_coverage",
            ),
        ),
        migrations.AddConstraint(
            model_name="cusmembership",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("user__isnull", False), ("invited_email__isnull", False), _connector="OR"
                ),
                name="cus_memberships_somebody",
            ),
        ),
        migrations.AddConstraint(
            model_name="cusmembership",
            constraint=models.UniqueConstraint(
                models.F("tenant"),
                django.db.models.functions.text.Lower("invited_email"),
                name="cus_memberships_invited_once",
            ),
        ),
        migrations.AddField(
            model_name="cusauditentry",
            name="actor",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="cusauditentry",
            name="tenant",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="integrations.custenant",
            ),
        ),
        migrations.AddIndex(
            model_name="cusauditentry",
            index=models.Index(fields=["tenant", "-created_at"], name="cus_audit_tenant"),
        ),
        migrations.AddIndex(
            model_name="cusauditentry",
            index=models.Index(
                fields=["object_type", "object_id", "-created_at"], name="cus_audit_object"
            ),
        ),
        migrations.AddConstraint(
            model_name="cusauditentry",
            constraint=models.CheckConstraint(
                condition=models.Q(("action", ""), _negated=True), name="cus_audit_action"
            ),
        ),
        migrations.RunSQL(AUDIT_GUARD, "DROP TRIGGER cus_append_only ON cus_audit_trail"),
    ]
