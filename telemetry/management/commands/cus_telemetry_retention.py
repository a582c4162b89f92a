"""`manage.py cus_telemetry_retention`: drop the months of usage rows that are old enough, now."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from telemetry.cus_clock import database_now
from telemetry.cus_retention.service import drop_old_months


class Command(BaseCommand):
    """Does what beat does every night: drops old months whose days are final, sealed and closed."""

    help = "Drop the months of usage rows that are older than CUS_RETENTION_MONTHS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="name the months, drop none")

    def handle(self, *_args: Any, **options: Any) -> None:
        if not settings.CUS_RETENTION_MONTHS:
            self.stdout.write("CUS_RETENTION_MONTHS is 0: every month is kept.")
        kept = 0
        for old in drop_old_months(database_now(), is_dry_run=options["dry_run"]):
            if old.obstacle:
                kept += 1
                self.stdout.write(f"{old.month} can't be dropped: {old.obstacle}.")
            else:
                done = "would be dropped" if options["dry_run"] else "dropped"
                self.stdout.write(f"{old.month} {done}, with {old.rows:,} rows.")
        if kept:
            raise CommandError(f"{kept} months are old enough and can't be dropped.")
