"""`manage.py cus_prepare`: a database that is ready to serve."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from aos_project.cus_first_start import FirstStart, set_up


class Command(BaseCommand):
    """Migrates, makes partitions and, on the first start, the people of the demo tenant."""

    help = "Migrate, make partitions and, on the first start, make logins and an SDK key."

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            call_command("migrate", interactive=False, verbosity=min(options["verbosity"], 1) - 1)
            first = set_up()
        except OperationalError as error:
            raise CommandError(
                f"The database can't be used: {str(error).strip()}\n"
                "Check DATABASE_URL and DATABASE_OWNER_URL, or unset them to use the embedded one."
            ) from None
        if first:
            self.stdout.write(_welcome(first))


def _welcome(first: FirstStart) -> str:
    logins = "\n".join(
        f"  {role:<14} {email:<26} {password}" for role, email, password in first.logins
    )
    return f"""
First start. These are shown once; keep them.

{logins}

  SDK key of the integration "{first.integration}":
  CUS_INTEGRATION_KEY={first.sdk_key}

  A lost password: .venv/bin/python manage.py changepassword <e-mail>
"""
