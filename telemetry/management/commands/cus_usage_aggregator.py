"""`manage.py cus_usage_aggregator`: recompute now what beat recomputes each minute."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_clock import database_now


class Command(BaseCommand):
    """Brings the usage by hour and day up to now."""

    help = "Recompute the hours and days of the calls received since the last run."

    def handle(self, *_args: Any, **_options: Any) -> None:
        result = rollup_usage(database_now())
        tenants = len({day.tenant_id for day in result.days})
        self.stdout.write(f"{len(result.days):,} days of {tenants:,} tenants recomputed.")
        if not result.has_noted:
            raise CommandError(
                "Another run is reading what was received, so this run recomputed only what was "
                "noted before. Try again when the other run is done."
            )
        if result.failed:
            names = ", ".join(f"{one.day} of {one.tenant_id}" for one in result.failed)
            raise CommandError(
                f"These days could not be recomputed: {names}. The log says why; the next run "
                "tries again."
            )
