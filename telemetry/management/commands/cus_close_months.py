"""`manage.py cus_close_months`: close the months that are over and that nobody has closed, now."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from telemetry.cus_clock import database_now
from telemetry.cus_statements.closing import close_months


class Command(BaseCommand):
    """Does what beat does every night: keeps each tenant's month as a sealed statement."""

    help = "Close each tenant's months that are over and have no statement."

    def handle(self, *_args: Any, **_options: Any) -> None:
        closed = failed = 0
        for outcome in close_months(database_now()):
            name = f"{outcome.month:%Y-%m} of the tenant {outcome.tenant_id}"
            if outcome.statement:
                closed += 1
                self.stdout.write(f"{name}: closed, with the digest {outcome.statement.digest}.")
            else:
                failed += 1
                self.stderr.write(f"{name}: {outcome.error}")
        self.stdout.write(f"{closed:,} months closed.")
        if failed:
            raise CommandError(f"{failed:,} months could not be closed; run the command again.")
