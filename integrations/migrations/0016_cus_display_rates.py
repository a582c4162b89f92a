"""Rates at which people see amounts in their own currency, beside US dollars."""

import django.db.models.deletion
import django.db.models.functions.datetime
import uuid
from django.conf import settings
from django.db import migrations, models


APPEND_ONLY = """
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_display_rates
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0015_cus_price_scope"),
    ]

    operations = [
        migrations.CreateModel(
            name="CusDisplayRate",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("currency", models.CharField(max_length=3)),
                ("rate", models.DecimalField(decimal_places=8, max_digits=14)),
                ("valid_from", models.DateTimeField()),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
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
                "verbose_name": "display rate",
                "db_table": "cus_display_rates",
                "ordering": ["-valid_from"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "valid_from"),
                        name="cus_display_rates_moment",
                        violation_error_message="There is a rate from that moment on already. Choose another moment: rates are appended, never changed.",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("currency__regex", "^[A-Z]{3}$")),
                        name="cus_display_rates_currency",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("rate__gt", 0)), name="cus_display_rates_rate"
                    ),
                ],
            },
        ),
        migrations.RunSQL(APPEND_ONLY, "DROP TRIGGER cus_append_only ON cus_display_rates"),
    ]
