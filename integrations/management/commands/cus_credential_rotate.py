"""`manage.py cus_credential_rotate`: new keys for stored credentials, or a new credential."""

import getpass
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import track
from rich.table import Table

from integrations.cus_credentials.envelope import key_ring
from integrations.cus_credentials.registry import OpenedCredential, parsed_credential
from integrations.cus_credentials.rotation import (
    KeyInUse,
    Outcome,
    credentials_by_key,
    require_retired,
    rotate,
)
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import CredentialMissing, CusError


class Command(BaseCommand):
    """Rewraps by the newest key of the ring; or replaces the credential of one integration."""

    help = (
        "Bring every stored credential under the first key of CUS_CREDENTIAL_KEYS; or, with "
        "--integration, replace one integration's credential by what is typed, piped or in --file."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        wish = parser.add_mutually_exclusive_group()
        wish.add_argument("--integration", metavar="ID", help="replace its credential")
        wish.add_argument("--retire", metavar="KEY_ID", help="check whether a key may be removed")
        wish.add_argument("--dry-run", action="store_true", help="try without writing")
        parser.add_argument("--file", type=Path, help="with --integration: the new credential")

    def handle(self, *_args: Any, **options: Any) -> None:
        console = Console(file=cast("IO[str]", self.stdout))
        if options["file"] and options["integration"] is None:
            raise CommandError("--file goes with --integration.")
        if options["integration"] is not None:
            return self._replace(options["integration"], options["file"])
        if options["retire"] is not None:
            return self._retire(options["retire"])
        return self._rotate(console, dry_run=options["dry_run"])

    def _rotate(self, console: Console, *, dry_run: bool) -> None:
        counts = _counts()
        waiting = counts.total() - counts[_first_key()]
        work = "Trying" if dry_run else "Rewrapping"
        outcomes = Counter(
            track(rotate(dry_run=dry_run), work, total=waiting, console=Console(stderr=True))
        )
        summary = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
        console.print(f"{summary or 'Nothing to do'}{' (dry run)' if dry_run else ''}.")
        console.print(_table("Credentials by key", _counts()))
        if outcomes[Outcome.UNREADABLE]:
            raise CommandError(
                f"{outcomes[Outcome.UNREADABLE]:,} credentials can't be opened. Put the key that "
                "sealed them back into CUS_CREDENTIAL_KEYS, or enter them again."
            )

    def _retire(self, key_id: str) -> None:
        try:
            require_retired(key_id)
        except KeyInUse as error:
            raise CommandError(error.detail) from None
        self.stdout.write(
            f"No credential is sealed by {key_id}. Once every process runs with a ring that "
            "begins with another key, remove this key. Keep a copy with the backups made until "
            "now, which need the key."
        )

    def _replace(self, integration_id: str, file: Path | None) -> None:
        integration = _integration(integration_id)
        credential = _new_credential(file)
        service = CusIntegrationService(integration.tenant)
        try:
            service.change(
                integration.id,
                credential=dict(credential),
                expected_version=integration.config_version,
            )
        except CusError as error:
            raise CommandError(error.detail) from None
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(f"The credential of {integration.name} is replaced.")


def _integration(text: str) -> CusIntegration:
    try:
        integration_id = uuid.UUID(text)
    except ValueError:
        raise CommandError("--integration takes an integration's id.") from None
    found = CusIntegration.objects.filter(id=integration_id, deleted_at__isnull=True)
    integration = found.select_related("tenant").first()
    if integration is None:
        raise CommandError(f"There is no integration {integration_id}.")
    return integration


def _new_credential(file: Path | None) -> OpenedCredential:
    """Read a credential: typed without an echo, piped, or from a file. Never from an argument,
    which other users of the machine could see.
    """
    try:
        if file:
            text = file.read_text()
        elif sys.stdin.isatty():
            text = getpass.getpass("New credential (a key, or JSON): ")
        else:
            text = sys.stdin.read()
        return parsed_credential(text)
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"{file} can't be read.") from None
    except CredentialMissing:
        raise CommandError(
            'That is neither a key nor a JSON object of texts such as {"api_key": "…"}.'
        ) from None


def _first_key() -> str:
    return key_ring(settings.CUS_CREDENTIAL_KEYS).first_id


def _counts() -> Counter[str]:
    return Counter({key: len(rows) for key, rows in credentials_by_key().items()})


def _table(title: str, counts: Counter[str]) -> Table:
    table = Table("key", "credentials", "", title=title)
    ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
    for key_id in [*ring.keys, *sorted(counts.keys() - ring.keys.keys())]:
        role = "seals new ones" if key_id == ring.first_id else "opens"
        table.add_row(key_id, f"{counts[key_id]:,}", role if key_id in ring.keys else "not in ring")
    return table
