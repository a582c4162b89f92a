"""Databases to measure in: copies of a database that was prepared like the product's."""

import copy
import os
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.utils import timezone
from psycopg import sql

from aos_project.cus_first_start import demo_integration
from integrations.cus_accounts.models import CusTenant
from integrations.cus_keys.use import key_uses
from integrations.cus_keys.verifier import SdkPrincipal, issue_sdk_key, verify_sdk_key

# By month and integration, and for life by model: whichever the product keeps.
_TOTALS_TABLES = ("cus_period_totals", "cus_lifetime_totals")


@dataclass(frozen=True)
class Sender:
    """A program that reports: its key's text, and the key's integration."""

    key: str
    principal: SdkPrincipal


def prepare() -> Sender:
    """Migrate the configured database and make the one integration that reports."""
    call_command("migrate", verbosity=0, interactive=False)
    return new_sender()


def new_sender() -> Sender:
    """A program with a key of an integration of its own."""
    integration = demo_integration(CusTenant.objects.create(name="Benchmark"))
    return sender_of(issue_sdk_key(integration, label="Benchmark")[1])


def sender_of(key: str) -> Sender:
    """The principal of a key."""
    principal = verify_sdk_key(key, now=timezone.now())
    assert principal
    return Sender(key, principal)


def superuser(database: str) -> "psycopg.Connection[Any]":
    """A connection without the product's time limits."""
    return psycopg.connect(os.environ["CUS_SUPERUSER_URL"], dbname=database, autocommit=True)


def new_database(name: str) -> str:
    """A copy of the prepared database, and connections to it: `name` as the application, and
    `name_owner`. Gives the name back."""
    # Or it could not be copied.
    key_uses.finish()
    connections.close_all()
    prepared = str(settings.DATABASES["default"]["NAME"])
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER cus_owner")
    with superuser("postgres") as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(prepared)))
    for alias, known_as in (("default", name), ("owner", owner_of(name))):
        connections.settings[known_as] = copy.deepcopy(connections.settings[alias])
        connections.settings[known_as]["NAME"] = name
    return name


def owner_of(database: str) -> str:
    """The alias under which the owner of a database's tables connects."""
    return "owner" if database == "default" else f"{database}_owner"


def month_start(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def totals_tables(database: str) -> dict[str, set[str]]:
    """The totals tables that this version of the product has, and their columns."""
    with superuser(database) as connection:
        columns = connection.execute(
            "SELECT table_name::text, column_name::text FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name = ANY(%s)",
            [list(_TOTALS_TABLES)],
        ).fetchall()
    found: dict[str, set[str]] = {}
    for table, column in columns:
        found.setdefault(table, set()).add(column)
    return found
