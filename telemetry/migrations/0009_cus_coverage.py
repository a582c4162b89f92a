"""How many calls had ever run when an hour began: what coverage counts stored calls by (F8a)."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0008_cus_holds_by_integration")]

    operations = [
        migrations.CreateModel(
            name="CusCallMark",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "integration_id",
                        "hour",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("hour", models.DateTimeField()),
                ("calls", models.BigIntegerField()),
            ],
            options={"db_table": "cus_call_marks"},
        ),
    ]
