"""`manage.py cus_prepare`: make a database ready to serve."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, transaction

from aos_project.cus_embedded.passwords import write_private
from aos_project.cus_first_start import FirstStart, set_up


class Command(BaseCommand):
    """Migrates, makes partitions and, on the first start, the people of the demo tenant."""

    help = "Migrate, make partitions and, on the first start, make logins and an SDK key."

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            call_command("migrate", interactive=False, verbosity=min(options["verbosity"], 1) - 1)
            welcome = _first_start(settings.CUS_FIRST_START_FILE)
        except OperationalError as error:
            raise CommandError(
                f"The database can't be used: {str(error).strip()}\n"
                "Check DATABASE_URL and DATABASE_OWNER_URL, or unset them for the embedded server."
            ) from None
        if welcome:
            self.stdout.write(welcome)


@transaction.atomic
def _first_start(file: str) -> str | None:
    """Make the logins of a first start; return where its secrets are, None if it is not the first.

    The file is written before the commit: a commit without the file would leave no usable login.
    """
    first = set_up()
    if first is None:
        return None
    secrets = f"First start. These are shown once; keep them.\n\n{_listed(first)}"
    if not file:
        return f"\n{secrets}"
    path = Path(file).absolute()
    _keep(path, secrets)
    return (
        f"First start. The logins and the SDK key are in {path}, which only its owner can read.\n"
        "No other copy exists: move them to where you keep secrets, then delete the file."
    )


def _keep(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, text)
    except OSError as error:
        msg = (
            f"The logins of the first start can't be written to {path}: {error.strerror}. Nothing "
            "was made. Set CUS_FIRST_START_FILE to a file in a folder that can be written to, and "
            "start again."
        )
        raise CommandError(msg) from None


def _listed(first: FirstStart) -> str:
    logins = "\n".join(
        f"  {role:<14} {email:<26} {password}" for role, email, password in first.logins
    )
    return f"""\
{logins}

  SDK key of the integration "{first.integration}":
  CUS_INTEGRATION_KEY={first.sdk_key}

  A lost password: .venv/bin/python manage.py changepassword <e-mail>
"""
