"""`manage.py cus_telemetry_backfill`: recompute the usage by hour and day of a period (§8)."""

from datetime import UTC
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress, track

from telemetry.cus_analytics.backfill import (
    EvidenceDropped,
    Period,
    days_with_figures,
    note_period,
    refuse_dropped,
)
from telemetry.cus_analytics.days import TenantDay
from telemetry.cus_analytics.usage_aggregator import RollupResult, recompute_due
from telemetry.cus_clock import database_now
from telemetry.cus_command_line import calendar_day


class Command(BaseCommand):
    """Recomputes hours and days from evidence; no evidence changes.

    Stopped and begun again, or run twice, it comes to the same figures: what it noted and did not
    recompute, the next run of the rollup recomputes.
    """

    help = "Recompute usage by hour and day from evidence, for whole days in UTC."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="start", type=calendar_day, required=True, help="first day"
        )
        parser.add_argument("--to", dest="end", type=calendar_day, help="last day; default: today")
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would be recomputed, change nothing"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        end = options["end"] or database_now().astimezone(UTC).date()
        period = Period(options["start"], end)
        if period.start > period.end:
            raise CommandError("--from is after --to. Name the first day before the last.")
        found = list(days_with_figures(period))
        try:
            refuse_dropped(found)
        except EvidenceDropped as error:
            raise CommandError(str(error)) from None
        if options["dry_run"]:
            self._describe(found)
            return
        self._report(_recompute(period))

    def _describe(self, found: list[TenantDay]) -> None:
        for day in found:
            self.stdout.write(f"{day.day} of tenant {day.tenant_id}")
        self.stdout.write(f"{len(found):,} days would be recomputed. Nothing was changed.")

    def _report(self, result: RollupResult) -> None:
        self.stdout.write(f"{len(result.days):,} days recomputed.")
        if result.failed:
            raise CommandError(
                f"{len(result.failed):,} days could not be recomputed. The log says why; the next "
                "run of the rollup tries them again."
            )


def _recompute(period: Period) -> RollupResult:
    console = Console(stderr=True)
    length = (period.end - period.start).days + 1
    for _ in track(note_period(period), "Noting days", total=length, console=console):
        pass
    with Progress(console=console) as progress:
        bar = progress.add_task("Recomputing days", total=None)

        def advance(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        return recompute_due(only=period.has, tell=advance)
