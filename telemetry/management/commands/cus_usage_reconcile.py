"""`manage.py cus_usage_reconcile`: compare usage by hour and day, and totals, with the evidence."""

from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from telemetry.cus_analytics.models import CusReconcileRun
from telemetry.cus_analytics.reconcile import ALARMING, reconcile
from telemetry.cus_clock import database_now

_SHOWN = 50


class Command(BaseCommand):
    """Repairs hours and days. Totals are evidence, so no program repairs them."""

    help = "Compare hours, days and totals with the evidence, and repair hours and days."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--all-months",
            action="store_true",
            help="compare the totals of all months, not only of this and the last",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        run = reconcile(database_now(), all_months=options["all_months"])
        found = run.differences.count()
        if found:
            Console(file=cast("IO[str]", self.stdout)).print(_table(run, found))
        self.stdout.write(f"{found:,} figures differed. Hours and days are repaired.")
        if run.failed_tenants:
            raise CommandError(f"{run.failed_tenants:,} tenants were not compared: see the log.")
        wrong = run.differences.filter(kind__in=ALARMING).count()
        if wrong:
            raise CommandError(
                f"{wrong:,} totals are not the sums of their evidence. Restore the database from a "
                "backup, or find out who changed it."
            )


def _table(run: CusReconcileRun, found: int) -> Table:
    table = Table("kind", "integration", "of", "figure", "stored", "expected")
    for one in run.differences.order_by("id")[:_SHOWN]:
        of = f"{one.starts_at:%Y-%m-%d %H:%M}" if one.starts_at else "all time"
        amounts = (f"{one.stored:,}", f"{one.expected:,}")
        table.add_row(one.kind, str(one.integration_id), of, one.figure, *amounts)
    if found > _SHOWN:
        table.caption = f"and {found - _SHOWN:,} more"
    return table
