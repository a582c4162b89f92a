"""`manage.py cus_focus_export`: write usage and cost as rows of FOCUS."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from integrations.cus_accounts.models import CusTenant
from telemetry.cus_analytics.days import start_of
from telemetry.cus_command_line import calendar_day, tenant_id_of
from telemetry.cus_focus.charges import CusCharges
from telemetry.cus_focus.export import FocusFormat, focus_lines
from telemetry.cus_reads.periods import Period


class Command(BaseCommand):
    """Writes a tenant's charges to standard output. They are no invoice."""

    help = "Write a tenant's usage and cost as rows of FOCUS 1.4. Not an invoice."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, help="the tenant's id or name")
        parser.add_argument(
            "--from", dest="start", type=calendar_day, required=True, help="first day, UTC"
        )
        parser.add_argument("--to", dest="end", type=calendar_day, required=True, help="last day")
        parser.add_argument("--format", choices=list(FocusFormat), default=FocusFormat.CSV)

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["start"] > options["end"]:
            raise CommandError("--from is after --to. Name the first day before the last.")
        tenant = CusTenant.objects.get(id=str(tenant_id_of(options["tenant"])))
        period = Period(start_of(options["start"]), start_of(options["end"] + timedelta(days=1)))
        for lines in focus_lines(CusCharges(tenant).of(period), FocusFormat(options["format"])):
            self.stdout.write(lines, ending="")
