"""Keep the index by which the rate counts admissions out of all other statements' plans."""

from django.db import migrations, models

from telemetry.migrations._patience import patiently

_INDEX = "CREATE INDEX cus_holds_taken ON cus_enforcement_holds"
_COLUMNS = "(tenant_id, integration_id, taken_at DESC)"


def forwards(apps, schema_editor):
    _replace(schema_editor, f"{_INDEX} {_COLUMNS} WHERE cents >= 0")


def backwards(apps, schema_editor):
    _replace(schema_editor, f"{_INDEX} {_COLUMNS}")


def _replace(schema_editor, index):
    with schema_editor.connection.cursor() as cursor:
        patiently(cursor, f"DROP INDEX IF EXISTS cus_holds_taken; {index}")


class Migration(migrations.Migration):
    # `patiently` runs transactions of its own.
    atomic = False
    dependencies = [("telemetry", "0018_cus_month_close")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(forwards, backwards)],
            state_operations=[
                migrations.RemoveIndex("cusenforcementhold", "cus_holds_taken"),
                migrations.AddIndex(
                    "cusenforcementhold",
                    models.Index(
                        condition=models.Q(("cents__gte", 0)),
                        fields=["tenant_id", "integration_id", "-taken_at"],
                        name="cus_holds_taken",
                    ),
                ),
            ],
        )
    ]
