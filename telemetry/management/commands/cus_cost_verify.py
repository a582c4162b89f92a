"""`manage.py cus_cost_verify`: recompute stored costs from the prices they name."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import track
from rich.table import Table

from telemetry.cus_clock import database_now
from telemetry.cus_command_line import moment, tenant_id_of
from telemetry.cus_corrections.cost_audit import (
    CostDifference,
    Priced,
    difference,
    failed_checks,
    rows_received,
    settlements_received,
)

_SHOWN = 50


class Command(BaseCommand):
    """Tests the arithmetic with known calls, then recomputes every stored row of a period."""

    help = "Recompute stored rows from the prices they were priced by; none should differ."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from", dest="start", type=moment, help="default: a day ago")
        parser.add_argument("--to", dest="end", type=moment, help="default: now")
        parser.add_argument("--tenant", help="id or name")

    def handle(self, *_args: Any, **options: Any) -> None:
        console = Console(file=cast("IO[str]", self.stdout))
        failed = failed_checks()
        if failed:
            raise CommandError(f"The price table fails its self-test for {', '.join(failed)}.")
        console.print("Self-test passed: the known calls have the right costs.")
        now = database_now()
        start, end = options["start"] or now - timedelta(days=1), options["end"] or now
        within = (start, end, tenant_id_of(options["tenant"]))
        rows: Iterator[Priced] = chain(rows_received(*within), settlements_received(*within))
        checked, found = 0, []
        for row in track(rows, "Recomputing rows", console=Console(stderr=True)):
            checked += 1
            wrong = difference(row)
            if wrong:
                found.append(wrong)
        if found:
            console.print(_table(found))
            raise CommandError(f"{len(found):,} of {checked:,} rows differ.")
        console.print(f"{checked:,} rows recomputed, none differs.")


def _table(found: list[CostDifference]) -> Table:
    table = Table("call", "model", "version", "stored", "recomputed", "why")
    for one in found[:_SHOWN]:
        table.add_row(
            one.usage.call_id,
            one.usage.model,
            one.usage.pricing_version or "none",
            f"{one.usage.cost_microcents:,}",
            "" if one.recomputed is None else f"{one.recomputed:,}",
            one.reason,
        )
    if len(found) > _SHOWN:
        table.caption = f"and {len(found) - _SHOWN:,} more"
    return table
