"""Requests for increases that the person who asked has withdrawn."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0027_cus_plain_names"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="cusincreaserequest",
            name="cus_increase_requests_state_known",
        ),
        migrations.AlterField(
            model_name="cusincreaserequest",
            name="state",
            field=models.CharField(
                choices=[
                    ("open", "Open"),
                    ("approved", "Approved"),
                    ("refused", "Refused"),
                    ("withdrawn", "Withdrawn"),
                ],
                db_default="open",
                default="open",
                editable=False,
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="cusincreaserequest",
            constraint=models.CheckConstraint(
                condition=models.Q(state__in=["open", "approved", "refused", "withdrawn"]),
                name="cus_increase_requests_state_known",
            ),
        ),
    ]
