"""The time zone in which a tenant's people read usage.

The default is a constant, so PostgreSQL adds the column without rewriting the table.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("integrations", "0016_cus_display_rates")]

    operations = [
        migrations.AddField(
            model_name="custenant",
            name="time_zone",
            field=models.CharField(
                blank=True,
                db_default="UTC",
                default="UTC",
                help_text="Usage is read by days and months of this zone, such as Europe/Berlin. "
                "Budgets go by UTC.",
                max_length=64,
                verbose_name="time zone",
            ),
        ),
    ]
