import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

# A destroyed or replaced ciphertext lingers in its page until a vacuum: here that is soon.
VACUUM_SOON = """
ALTER TABLE cus_credentials SET (
    autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 1, toast.autovacuum_vacuum_scale_factor = 0
);
"""
AS_USUAL = """
ALTER TABLE cus_credentials RESET (
    autovacuum_vacuum_threshold, autovacuum_vacuum_scale_factor,
    toast.autovacuum_vacuum_threshold, toast.autovacuum_vacuum_scale_factor
);
"""


class Migration(migrations.Migration):
    dependencies = [("integrations", "0003_cus_control_plane")]

    operations = [
        migrations.CreateModel(
            name="CusImportedWorker",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("worker_id", models.CharField(max_length=255)),
                (
                    "imported_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "integration",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
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
                "verbose_name": "imported worker",
                "db_table": "cus_imported_workers",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "worker_id"), name="cus_imported_workers_once"
                    )
                ],
            },
        ),
        migrations.RunSQL(VACUUM_SOON, AS_USUAL),
    ]
