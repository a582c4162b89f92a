"""Checks that were refused because something was busy have a count of their own (ruling F6a)."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("enforcement", "0001_cus_enforcement")]

    operations = [
        # With a constant default, so no row is rewritten.
        migrations.AddField(
            model_name="cusdecisiontotals",
            name="contention",
            field=models.BigIntegerField(db_default=0),
        ),
    ]
