"""`manage.py cus_telemetry_partitions`: the usage table's months, and the next month."""

from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandParser
from rich.console import Console
from rich.table import Table

from telemetry.cus_clock import database_now
from telemetry.cus_evidence.partitions import Partition, make_partitions, partitions, wanted_months


class Command(BaseCommand):
    """Shows each month's partition with its rows and size; --make makes missing partitions."""

    help = "Show the usage table's partitions, their sizes and the next month."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--make", action="store_true", help="make missing months")

    def handle(self, *_args: Any, **options: Any) -> None:
        now = database_now()
        if options["make"]:
            for month in make_partitions(now):
                self.stdout.write(f"Made {month}.")
        found = partitions()
        console = Console(file=cast("IO[str]", self.stdout))
        console.print(_table(found))
        missing = sorted(set(wanted_months(now)) - {partition.month for partition in found})
        if missing:
            names = ", ".join(map(str, missing))
            console.print(f"Missing: {names}. Beat makes them; --make makes them now.")
        elif found:
            console.print(f"Next: {found[-1].month.shifted(1)}, when it is three months away.")


def _table(found: list[Partition]) -> Table:
    table = Table("month", "partition", "rows (about)", "table", "indexes")
    for one in found:
        rows = f"{one.rows:,}"
        table.add_row(str(one.month), one.month.partition, rows, one.table_size, one.indexes_size)
    return table
