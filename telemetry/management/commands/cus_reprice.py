"""`manage.py cus_reprice`: correct the costs of calls whose price was wrong."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from telemetry.cus_clock import database_now
from telemetry.cus_command_line import moment, tenant_id_of
from telemetry.cus_corrections.repricing import reprice


class Command(BaseCommand):
    """Appends adjusting entries for calls whose price was wrong; no stored row changes."""

    help = "Bring stored calls of a model to today's prices by appending adjustments."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--model", required=True, help="as the calls were reported")
        parser.add_argument("--from", dest="start", type=moment, required=True)
        parser.add_argument("--to", dest="end", type=moment, help="default: now")
        parser.add_argument("--tenant", help="id or name; without it, every tenant")

    def handle(self, *_args: Any, **options: Any) -> None:
        end = options["end"] or database_now()
        tenant_id = tenant_id_of(options["tenant"])
        rows = adjusted = difference = 0
        for part in reprice(options["model"], options["start"], end, tenant_id=tenant_id):
            rows += part.rows
            adjusted += part.adjusted
            difference += part.difference_microcents
        self.stdout.write(
            f"{rows:,} calls looked at, {adjusted:,} adjusted by {difference:+,} microcents."
        )
