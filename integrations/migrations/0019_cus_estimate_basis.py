"""What is held for a call before it runs: an integration's estimate basis (ruling F3b)."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0018_cus_finance"),
    ]

    operations = [
        migrations.AddField(
            model_name="cusintegration",
            name="estimate_basis",
            field=models.CharField(
                choices=[
                    ("bound", "Bound: the most that a call can use"),
                    ("clamp", "Clamp: outputs are shortened to what the room pays for"),
                    ("learned", "Learned: by the output of the last calls"),
                ],
                db_default="bound",
                help_text="Bound is exact: no call passes a limit, but a call without max_tokens is held for with its model's maximum output. Clamp is exact, too: the SDK lowers a call's output maximum to what the room pays for, so an answer may end early. Learned is not exact: a call is held for with 1.25 times the 99.9th percentile of the last 1,000 outputs, never more than bound; what a call uses beyond that passes the limit, and is counted as overrun.",
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            model_name="cusintegration",
            constraint=models.CheckConstraint(
                condition=models.Q(("estimate_basis__in", ["bound", "clamp", "learned"])),
                name="cus_integrations_estimate_basis_known",
            ),
        ),
    ]
