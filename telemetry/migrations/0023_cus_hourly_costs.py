"""An index that has the costs of hours, so that forecasts read no wide rows."""

from django.db import migrations, models

COSTS = models.Index(
    fields=["tenant_id", "integration_id", "hour"],
    include=["cost_microcents", "settled_cost_microcents", "correction_microcents"],
    name="cus_usage_hourly_costs",
)


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0022_cus_day_groups")]

    operations = [
        migrations.RunSQL("SET LOCAL statement_timeout = 0", migrations.RunSQL.noop),
        migrations.AddIndex("cususagehourly", COSTS),
        migrations.RemoveIndex("cususagehourly", "cus_usage_hourly_integration"),
    ]
