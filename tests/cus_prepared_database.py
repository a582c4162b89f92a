"""The database that the databases of a test run are copies of: migrated once in each run.

The run's processes find the database by the run's id. Whichever process needs it first makes it,
and the others wait until it is there.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from tests.cus_postgres_programs import binaries, reached_by


@dataclass(frozen=True)
class PreparedDatabase:
    """A migrated database with no other rows, and a copy of the whole cluster that holds it."""

    name: str
    cluster: Path

    def copy(self, name: str) -> None:
        """Create a database with the same content."""
        with _locked(), superuser("postgres") as connection:
            _create(connection, name, template=self.name)

    @property
    def superuser_password(self) -> str:
        """The password with which the cluster's superuser connects."""
        return unquote(urlsplit(os.environ["CUS_SUPERUSER_URL"]).password or "")

    def take_over(self, server: "psycopg.Connection[tuple[object, ...]]") -> None:
        """Give the database the product's own name, on a server that runs a copy of the cluster."""
        prepared, product = sql.Identifier(self.name), sql.Identifier("cus")
        server.execute(sql.SQL("DROP DATABASE {}").format(product))
        server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(prepared, product))


def prepared_database() -> PreparedDatabase:
    """This run's prepared database; made at its first use."""
    # The run's workers share this id. A worker that no run started has a database of its own.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", worker)
    prepared = PreparedDatabase(f"prepared_{run}", _folder() / f"prepared_{run}")
    with _locked():
        if not prepared.cluster.exists():
            _prepare(prepared)
    return prepared


def use_database(name: str) -> None:
    """Let Django connect to another database from now on."""
    for alias in connections:
        connections[alias].settings_dict["NAME"] = name


def superuser(database: str) -> "psycopg.Connection[tuple[object, ...]]":
    """A connection past all privileges."""
    return psycopg.connect(os.environ["CUS_SUPERUSER_URL"], dbname=database, autocommit=True)


def _prepare(prepared: PreparedDatabase) -> None:
    with superuser("postgres") as connection:
        _create(connection, prepared.name)
    use_database(prepared.name)
    call_command("migrate", verbosity=0)
    # PostgreSQL refuses to copy a database with open connections.
    connections.close_all()
    _copy_cluster(prepared.cluster)


def _copy_cluster(folder: Path) -> None:
    """The cluster as it is at this moment, for servers of other tests to start from."""
    unfinished = folder.with_suffix(".unfinished")
    with superuser("postgres") as connection:
        where, environment = reached_by(connection)
    copying = [str(binaries() / "pg_basebackup"), *where, "-D", str(unfinished)]
    # The run's servers are thrown away: nothing has to survive the machine.
    copying += ["--checkpoint=fast", "--no-sync", "--no-manifest"]
    subprocess.run(copying, env=environment, check=True)
    unfinished.rename(folder)


def _create(
    connection: "psycopg.Connection[tuple[object, ...]]", name: str, template: str = "template1"
) -> None:
    owner = str(settings.DATABASES["owner"]["USER"])
    names = map(sql.Identifier, (name, template, owner))
    connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(*names))


@contextmanager
def _locked() -> Iterator[None]:
    """One process of the run at a time."""
    with (_folder() / "prepared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _folder() -> Path:
    """The folder of the run's servers, which goes when they go."""
    return Path(os.environ["CUS_DATA_DIR"])
