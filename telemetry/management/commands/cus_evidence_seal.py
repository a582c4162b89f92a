"""`manage.py cus_evidence_seal`: seal the days of evidence that are due, now."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from telemetry.cus_clock import database_now
from telemetry.cus_seals.service import seal_all


class Command(BaseCommand):
    """Does what beat does every hour: seals each closed day that has no seal."""

    help = "Seal each tenant's days of evidence that closed an hour ago or earlier."

    def handle(self, *_args: Any, **_options: Any) -> None:
        days = facts = failed = 0
        for outcome in seal_all(database_now()):
            if outcome.seal:
                days += 1
                facts += outcome.seal.rows + outcome.seal.settlements + outcome.seal.adjustments
            else:
                failed += 1
                self.stderr.write(f"Tenant {outcome.tenant_id}: {outcome.error}")
        self.stdout.write(f"{days:,} days sealed, with {facts:,} facts.")
        if failed:
            raise CommandError(f"{failed:,} tenants could not be sealed; run the command again.")
