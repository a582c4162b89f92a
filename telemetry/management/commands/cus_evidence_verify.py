"""`manage.py cus_evidence_verify`: prove that sealed evidence is as it was sealed."""

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import track

from integrations.cus_accounts.models import CusTenant
from telemetry.cus_clock import database_now
from telemetry.cus_command_line import moment, tenant_id_of
from telemetry.cus_seals.heads import Head, HeadsUnreadable, compared, imported
from telemetry.cus_seals.verification import CheckedDay, CusSealVerifier, tenants_to_verify


class Command(BaseCommand):
    """Follows every chain of seals and compares the evidence; names each day that differs."""

    help = "Prove that no sealed evidence was altered, added or removed, or name the day."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="id or name; without it, every tenant")
        parser.add_argument("--from", dest="start", type=moment, help="first day to compare (UTC)")
        parser.add_argument("--to", dest="end", type=moment, help="last day to compare (UTC)")
        parser.add_argument("--head", type=Path, help="a file that cus_evidence_head has written")

    def handle(self, *_args: Any, **options: Any) -> None:
        tenant_id = tenant_id_of(options["tenant"])
        heads = [
            head
            for head in _heads(options["head"])
            if tenant_id is None or head.tenant == tenant_id
        ]
        tenant_ids = [tenant_id] if tenant_id else tenants_to_verify()
        days = _verified(
            tenant_ids, _day(options["start"], date.min), _day(options["end"], date.max)
        )
        summary = _Summary()
        for day in track(days, "Verifying days", console=Console(stderr=True)):
            self._note(day, summary)
        for head in heads:
            self._note(compared(head), summary)
        self.stdout.write(str(summary))
        if summary.faulty:
            raise CommandError(f"{summary.faulty:,} days are not as they were sealed.")

    def _note(self, day: CheckedDay, summary: "_Summary") -> None:
        summary.add(day)
        for fault in day.faults:
            self.stdout.write(f"{_name_of(day.tenant_id)}, {day.day}: {fault}")


class _Summary:
    """Counts of days, and the last one that was sealed late."""

    def __init__(self) -> None:
        self.compared = self.dropped = self.faulty = self.late = 0
        self.last_late = date.min

    def add(self, day: CheckedDay) -> None:
        self.compared += day.compared
        self.dropped += day.dropped
        self.faulty += bool(day.faults)
        if day.late:
            self.late += 1
            self.last_late = max(self.last_late, day.day)

    def __str__(self) -> str:
        lines = [f"{self.compared:,} days compared with their seals, {self.faulty:,} with faults."]
        if self.dropped:
            lines.append(
                f"{self.dropped:,} days: usage rows dropped by retention. Their seals were verified."
            )
        if self.late:
            lines.append(
                f"{self.late:,} days were sealed more than a day after they closed, the last of "
                f"them {self.last_late}: their seals prove nothing about the time before."
            )
        return "\n".join(lines)


def _verified(tenant_ids: list[uuid.UUID], first: date, last: date) -> Iterator[CheckedDay]:
    now = database_now()
    for tenant_id in tenant_ids:
        yield from CusSealVerifier(tenant_id, now).days(first, last)


def _heads(path: Path | None) -> list[Head]:
    if path is None:
        return []
    try:
        return imported(path.read_bytes())
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}.", returncode=2) from None
    except HeadsUnreadable as error:
        raise CommandError(f"{path}: {error}", returncode=2) from None


def _day(given: datetime | None, default: date) -> date:
    return given.astimezone(UTC).date() if given else default


def _name_of(tenant_id: uuid.UUID) -> str:
    tenant = CusTenant.objects.filter(id=tenant_id).first()
    return f"Tenant {tenant.name} ({tenant_id})" if tenant else f"Tenant {tenant_id}"
