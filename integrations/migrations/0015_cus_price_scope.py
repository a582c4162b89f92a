"""Own prices that are limited to an integration, a provider or a host, and that change the list.

Columns without a value, or with one constant, are added without a rewrite of the table. Prices that
are stored keep their meaning: they replace the list.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0014_cus_token_changes"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="cuspriceoverride",
            name="cus_price_overrides_moment",
        ),
        migrations.AddField(
            model_name="cuspriceoverride",
            name="host",
            field=models.CharField(blank=True, max_length=255, null=True),
        ),
        migrations.AddField(
            model_name="cuspriceoverride",
            name="integration",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="integrations.cusintegration",
            ),
        ),
        migrations.AddField(
            model_name="cuspriceoverride",
            name="provider",
            field=models.CharField(blank=True, max_length=50, null=True),
        ),
        migrations.AddField(
            model_name="cuspriceoverride",
            name="replaces_list",
            field=models.BooleanField(db_default=True, default=True, editable=False),
        ),
        migrations.AddConstraint(
            model_name="cuspriceoverride",
            constraint=models.UniqueConstraint(
                fields=("tenant", "model", "valid_from", "integration", "provider", "host"),
                name="cus_price_overrides_moment",
                nulls_distinct=False,
                violation_error_message="This model has a price from that moment on already. Choose another moment: prices are appended, never changed.",
            ),
        ),
        migrations.AddConstraint(
            model_name="cuspriceoverride",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("integration__isnull", True), ("provider__isnull", True), _connector="OR"
                    ),
                    models.Q(
                        ("integration__isnull", True), ("host__isnull", True), _connector="OR"
                    ),
                    models.Q(("provider__isnull", True), ("host__isnull", True), _connector="OR"),
                ),
                name="cus_price_overrides_scope",
                violation_error_message="Limit a price to an integration, a provider or a host: to one of these, not to several.",
            ),
        ),
    ]
