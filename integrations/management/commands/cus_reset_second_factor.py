"""manage.py cus_reset_second_factor: for an operator who lost the phone and can't ask another."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from integrations.cus_accounts.models import CusUser
from integrations.cus_tenancy.person_service import CusPersonService


class Command(BaseCommand):
    help = "Forget a person's authenticator and recovery codes: the next sign-in sets up new ones."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the address that the person signs in with")

    def handle(self, *_args: Any, **options: Any) -> None:
        person = CusUser.objects.filter(email__iexact=options["email"]).first()
        if person is None:
            msg = "There is no person with that address."
            raise CommandError(msg)
        CusPersonService().reset_second_factor(person)
        self.stdout.write(f"{person.email} sets up a new second factor at the next sign-in.")
