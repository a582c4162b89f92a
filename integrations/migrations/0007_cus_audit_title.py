"""What the audit trail's rows are called in the console."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("integrations", "0006_cus_login")]

    operations = [
        migrations.AlterModelOptions(
            name="cusauditentry",
            options={"verbose_name": "audit entry", "verbose_name_plural": "audit entries"},
        ),
    ]
