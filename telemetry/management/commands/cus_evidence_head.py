"""`manage.py cus_evidence_head`: export the heads of the chains of seals."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from telemetry.cus_command_line import tenant_id_of
from telemetry.cus_seals.heads import exported
from telemetry.cus_seals.verification import tenants_to_verify


class Command(BaseCommand):
    """Prints tenant, day and digest of each chain's last seal, for `cus_evidence_verify --head`."""

    help = "Print the head of each tenant's chain of evidence seals as JSON."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="id or name; without it, every tenant")

    def handle(self, *_args: Any, **options: Any) -> None:
        tenant_id = tenant_id_of(options["tenant"])
        self.stdout.write(exported([tenant_id] if tenant_id else tenants_to_verify()))
