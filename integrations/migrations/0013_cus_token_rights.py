"""API tokens can be read-only and limited to address ranges (ruling C10).

Each new column has a constant default, so no row is written.
"""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0012_cus_proof"),
    ]

    operations = [
        migrations.AddField(
            model_name="cusapitoken",
            name="read_only",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Only GET requests; no change.",
                verbose_name="read only",
            ),
        ),
        migrations.AddField(
            model_name="cusapitoken",
            name="address_ranges",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=43),
                blank=True,
                db_default=[],
                default=list,
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="cusapitoken",
            name="last_refused_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="cusapitoken",
            name="last_refused_address",
            field=models.GenericIPAddressField(blank=True, editable=False, null=True),
        ),
        migrations.AddConstraint(
            model_name="cusapitoken",
            constraint=models.CheckConstraint(
                condition=models.Q(("may_change_access", True), ("read_only", True), _negated=True),
                name="cus_api_tokens_rights",
            ),
        ),
    ]
