"""`migrate`, by the login that may: the owner of the tables (ruling E5)."""

from argparse import ArgumentParser

from django.core.management.commands.migrate import Command as MigrateCommand


class Command(MigrateCommand):
    """Django's own command with the owner's login as its default database."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)  # type: ignore[no-untyped-call]
        parser.set_defaults(database="owner")
