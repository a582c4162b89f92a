"""Where coverage flags claims that no record backs (ruling F8a): a nullable column, no rewrite."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("integrations", "0008_cus_credential_origin")]

    operations = [
        migrations.AddField(
            model_name="cusintegration",
            name="unproven_calls",
            field=models.BigIntegerField(
                blank=True,
                editable=False,
                null=True,
                verbose_name="claimed calls without a record",
            ),
        ),
    ]
