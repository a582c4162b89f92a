"""API tokens change access only if they were made for that (ruling C10).

Tokens that are there keep what they may until they end, within 90 days.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("integrations", "0015_cus_mail"),
    ]

    operations = [
        migrations.AddField(
            model_name="cusapitoken",
            name="may_change_access",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Also change credentials, SDK keys, API tokens, members and roles.",
                verbose_name="may change access",
            ),
        ),
        migrations.RunSQL(
            """
            UPDATE cus_api_tokens
               SET may_change_access = true,
                   expiry = LEAST(expiry, now() + interval '90 days')
             WHERE revoked_at IS NULL AND expiry > now()
            """,
            migrations.RunSQL.noop,
        ),
    ]
