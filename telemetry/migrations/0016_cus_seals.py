"""Seals of days of evidence, which can only be appended (ruling E5)."""

from django.db import migrations, models

APPEND_ONLY = """
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_evidence_seals
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
"""
KEY = models.CompositePrimaryKey(
    "tenant_id", "day", blank=True, editable=False, primary_key=True, serialize=False
)


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0015_cus_call_aliases")]

    operations = [
        migrations.CreateModel(
            name="CusEvidenceSeal",
            fields=[
                ("pk", KEY),
                ("tenant_id", models.UUIDField()),
                ("day", models.DateField()),
                ("form", models.PositiveSmallIntegerField()),
                ("key_id", models.CharField(max_length=16)),
                ("rows", models.PositiveBigIntegerField()),
                ("settlements", models.PositiveBigIntegerField()),
                ("adjustments", models.PositiveBigIntegerField()),
                ("rows_digest", models.CharField(max_length=64)),
                ("settlements_digest", models.CharField(max_length=64)),
                ("adjustments_digest", models.CharField(max_length=64)),
                ("previous", models.CharField(max_length=64)),
                ("digest", models.CharField(max_length=64)),
                ("sealed_at", models.DateTimeField()),
            ],
            options={"verbose_name": "evidence seal", "db_table": "cus_evidence_seals"},
        ),
        migrations.RunSQL(APPEND_ONLY, migrations.RunSQL.noop),
    ]
