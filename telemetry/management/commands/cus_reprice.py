"""`manage.py cus_reprice`: correct the costs of calls whose price was wrong."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from telemetry.cus_clock import database_now
from telemetry.cus_command_line import moment, tenant_id_of
from telemetry.cus_corrections.repricing import Repriced, reprice

_WITHOUT_PLACE = (
    "cannot be brought further than to the plain price: their provider bills regions dearer, and "
    "their rows name no region"
)


class Command(BaseCommand):
    """Appends adjusting entries for calls whose price was wrong; no stored row changes."""

    help = "Bring stored calls to today's prices by appending adjustments."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--model", help="as the calls were reported; without it, every model")
        parser.add_argument("--from", dest="start", type=moment, required=True)
        parser.add_argument("--to", dest="end", type=moment, help="default: now")
        parser.add_argument("--tenant", help="id or name; without it, every tenant")

    def handle(self, *_args: Any, **options: Any) -> None:
        end = options["end"] or database_now()
        tenant_id = tenant_id_of(options["tenant"])
        done = sum(
            reprice(options["model"], options["start"], end, tenant_id=tenant_id), start=Repriced()
        )
        self.stdout.write(
            f"{done.rows:,} calls looked at, {done.adjusted:,} adjusted by "
            f"{done.difference_microcents:+,} microcents."
        )
        for number, why in (
            (done.without_place, _WITHOUT_PLACE),
            (done.without_price, "have no price: their model is not known"),
            (done.unmeasured, "are left alone: their usage is unknown"),
        ):
            if number:
                self.stdout.write(f"{number:,} calls {why}.")
