"""`manage.py cus_health_check`: ask the providers now, and print the integrations' health."""

import json
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q, QuerySet
from django.utils import timezone

from integrations.cus_health.schedule import checkable, stale
from integrations.cus_health.service import CheckResult, CusHealthService
from integrations.cus_health.turns import CheckUnderWay
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers.safe_http import SECONDS
from integrations.cus_web.errors import IntegrationNotFound

# A worker may be checking the integration just now; such a check ends within this time.
_WAIT_SECONDS = 11.0


class Command(BaseCommand):
    """Runs checks one after the other, with the rules and the history of beat's checks."""

    help = "Check integrations now. Exit code 1 if any is failing or in error, else 0."

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument(
            "--integration", type=_uuid, help="id of an integration, whatever its status"
        )
        which.add_argument("--tenant", help="id or name of a tenant: all of its integrations")
        which.add_argument(
            "--all", action="store_true", help="all integrations that are checked regularly"
        )
        which.add_argument(
            "--stale", action="store_true", help="all integrations that are due for a check"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object a line")
        parser.add_argument(
            "--summary",
            action="store_true",
            help="print only the number of integrations in each state",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        counts: Counter[str] = Counter()
        for integration, result in _checked(_selected(options)):
            counts[result.health_state if result else "skipped"] += 1
            counts["in error"] += bool(result and result.status == CusIntegration.Status.ERROR)
            if not options["summary"]:
                self.stdout.write(_line(integration, result, as_json=options["json"]))
        if options["summary"]:
            self.stdout.write(_summary(counts, as_json=options["json"]))
        if counts[CusIntegration.Health.FAILING] or counts["in error"]:
            sys.exit(1)


def _uuid(text: str) -> uuid.UUID:
    return uuid.UUID(text)


def _selected(options: dict[str, Any]) -> QuerySet[CusIntegration]:
    if options["stale"]:
        return stale(timezone.now())
    if options["all"]:
        return checkable()
    if options["tenant"]:
        found = checkable().filter(_named(options["tenant"]))
    else:
        living = CusIntegration.objects.filter(deleted_at__isnull=True)
        found = living.filter(id=options["integration"])
    if not found.exists():
        raise CommandError("There is no such integration or tenant to check.", returncode=2)
    return found


def _named(text: str) -> Q:
    try:
        return Q(tenant_id=uuid.UUID(text))
    except ValueError:
        return Q(tenant__name=text)


def _checked(
    integrations: QuerySet[CusIntegration],
) -> Iterator[tuple[CusIntegration, CheckResult | None]]:
    """Each integration with its result; None if another check ran during the whole wait."""
    for integration in integrations.select_related("tenant").order_by("tenant__name", "name", "id"):
        service = CusHealthService(integration.tenant)
        try:
            result = service.check(
                integration,
                now=timezone.now(),
                seconds=_WAIT_SECONDS + SECONDS,
                wait_seconds=_WAIT_SECONDS,
            )
        except (CheckUnderWay, IntegrationNotFound):
            result = None
        yield integration, result


def _line(integration: CusIntegration, result: CheckResult | None, *, as_json: bool) -> str:
    if as_json:
        who = {
            "integration_id": str(integration.id),
            "tenant": integration.tenant.name,
            "name": integration.name,
        }
        return json.dumps(who | (asdict(result) if result else {"health_state": "skipped"}))
    name = f"{integration.tenant.name} / {integration.name}"
    if result is None:
        return f"skipped   {name}: other checks of its tenant were under way."
    time = f" in {result.latency_ms} ms" if result.latency_ms is not None else ""
    return f"{result.health_state:<9} {name}: {result.message}{time}"


def _summary(counts: Counter[str], *, as_json: bool) -> str:
    names = [*CusIntegration.Health.values, "in error", "skipped"]
    shown = {name: counts[name] for name in names}
    if as_json:
        return json.dumps(shown)
    return ", ".join(f"{count} {name}" for name, count in shown.items() if count) or "none to check"
