"""Limits of tokens a minute and of calls a day (ruling F4a)."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("integrations", "0021_cus_words")]

    operations = [
        migrations.AddField(
            model_name="cusintegration",
            name="rate_limit_tpm",
            field=models.PositiveBigIntegerField(db_default=0, verbose_name="tokens a minute"),
        ),
        migrations.AddField(
            model_name="cusintegration",
            name="rate_limit_rpd",
            field=models.PositiveIntegerField(db_default=0, verbose_name="calls a day"),
        ),
    ]
