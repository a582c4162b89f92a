"""The database of the tests: real, migrated by its owner, used by the application's role.

Tests connect as the product does, so a privilege that is missing or too many shows. Only
the superuser cleans up after tests that commit, because no other role may delete evidence.
"""

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from django.test import TransactionTestCase
from psycopg import sql
from pytest_django import DjangoDbBlocker, Settings
from whitenoise.middleware import WhiteNoiseMiddleware

from enforcement.cus_checks.fair_share import fair_share
from enforcement.cus_checks.runs import forget_runs
from enforcement.cus_checks.turned_away import forget_turned_away
from enforcement.cus_reading.known_models import forget_models
from enforcement.cus_rules.authority import forget_states
from integrations.cus_accounts.login_throttle import forget_closed_addresses
from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_keys.verifier import forget_sdk_keys, issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_money.own_prices import forget_overrides
from telemetry.cus_money.pricing import forget_kept
from tests.cus_factories import SdkClient, make_integration, make_tenant, make_user
from tests.cus_prepared_database import (
    PreparedDatabase,
    prepared_database,
    superuser,
    use_database,
)
from tests.services.cus_receiver import Receiver

ROOT = Path(__file__).resolve().parents[1]
# `make test-browser` and `make test-benchmarks`.
_NAMED_ALONE = ("browser", "benchmarks")
_KEPT = ("django_migrations", "django_content_type", "auth_permission")
# Tests look at all pages of the console, which are loaded with the routes.
import_module(settings.ROOT_URLCONF)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests of a browser and of the benchmarks have runs of their own, which name them."""
    name = collection_path.name
    if name not in _NAMED_ALONE or collection_path.parent.name != "tests":
        return None
    is_named = any(f"tests/{name}" in argument for argument in config.args)
    return None if is_named else True


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make fuzz-api` and `make trust-lifecycle` ask for more than a test run can wait for."""
    parser.addoption("--fuzz-examples", type=int, default=2, help="requests of a kind")
    parser.addoption("--fuzz-seed", type=int, default=1, help="which requests are made")
    parser.addoption("--lives", type=int, default=200, help="random lives of an integration")
    parser.addoption("--months", type=int, default=14, help="months that pass, one after the other")
    parser.addoption("--limit-steps", type=int, default=300, help="steps of random limits")
    parser.addoption("--limit-calls", type=int, default=600, help="calls that race for limits")


_superuser = superuser


@pytest.fixture(scope="session")
def prepared(django_db_blocker: DjangoDbBlocker) -> PreparedDatabase:
    """The migrated database that this run's databases are copies of."""
    with django_db_blocker.unblock():
        return prepared_database()


@pytest.fixture(scope="session")
def django_db_setup(
    prepared: PreparedDatabase, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    prepared.copy(name)
    use_database(name)
    yield
    cleaner.close()
    with django_db_blocker.unblock():
        for used in connections.all():
            used.close()


def as_if(*statements: str) -> None:
    """Change values that the guards protect, such as the time of an event."""
    connection = cleaner.connection(str(connections["default"].settings_dict["NAME"]))
    for statement in statements:
        connection.execute(statement.encode())


class _Cleaner:
    """The superuser's connection past all guards, kept from test to test.

    It empties tables after tests, and changes what tests cannot. A new connection for each took six
    times as long: PostgreSQL checks a password, and reads the catalogue of all tables anew.
    """

    def __init__(self) -> None:
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None

    def connection(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection to the database, on which no guard refuses anything."""
        kept = self._connection
        if kept is None or kept.closed or kept.info.dbname != database:
            self.close()
            kept = self._connection = _superuser(database)
        # A test may have let the guards work on this connection.
        kept.execute("SET session_replication_role = replica")
        return kept

    def close(self) -> None:
        """PostgreSQL neither copies nor drops a database that a connection is open to."""
        if self._connection:
            self._connection.close()
            self._connection = None


cleaner = _Cleaner()


def empty_tables(*_test: TransactionTestCase) -> None:
    """Do the work of `flush`, without the guards that refuse it to every other role.

    DELETE from the few tables that a test wrote to takes a fraction of the time that TRUNCATE of
    all takes, which makes new files for every table and index.
    """
    connection = cleaner.connection(str(connections["default"].settings_dict["NAME"]))
    for (name,) in connection.execute(_tables_with_rows(connection)).fetchall():
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(str(name))))


def _tables_with_rows(connection: "psycopg.Connection[tuple[object, ...]]") -> sql.Composed:
    """A query for the names of all tables that hold a row; partitions count as their table."""
    tables = connection.execute(
        "SELECT relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace"
        " WHERE n.nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition"
        " AND relname <> ALL(%s)",
        [list(_KEPT)],
    ).fetchall()
    with_rows = sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})")
    return sql.SQL(" UNION ALL ").join(
        with_rows.format(sql.Literal(str(name)), sql.Identifier(str(name))) for (name,) in tables
    )


# Django has no seam for this.
TransactionTestCase._fixture_teardown = empty_tables  # type: ignore[attr-defined]


@pytest.fixture(autouse=True, scope="session")
def _one_connection() -> None:
    """Evidence goes over Django's connection, and so into a test's transaction.

    The pool is what the end-to-end tests' server processes use.
    """
    settings.CUS_EVIDENCE_POOL_SIZE = 0


@pytest.fixture(autouse=True, scope="session")
def _own_spool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test, and no process that one starts, leaves or finds records in the user's own spool."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUS_SPOOL_DIR", str(tmp_path_factory.mktemp("spool")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _quick_passwords() -> None:
    """Argon2 is slow on purpose; how a password is hashed is no business of these tests."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True, scope="session")
def _static_files_found_once() -> Iterator[None]:
    """Every test client loads the middleware, and would look for all static files again."""
    find, found = WhiteNoiseMiddleware.add_files_from_finders, dict[str, Any]()

    def find_once(middleware: WhiteNoiseMiddleware) -> None:
        if not found:
            find(middleware)
            found.update(middleware.files)
        middleware.files.update(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", find_once)
        yield


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    forget_everything()


def forget_everything() -> None:
    """What a process remembers of prices and keys outlives a test's transaction; its rows do not."""
    forget_overrides()
    forget_kept()
    forget_sdk_keys()
    forget_states()
    forget_models()
    forget_runs()
    fair_share.forget()
    forget_turned_away()
    forget_closed_addresses()


# The deadlines of a check, and where they stand.
_DEADLINES = {
    "enforcement.cus_checks.keys": ("_ASK_SECONDS",),
    "enforcement.cus_checks.locked": (
        "_LOCK_SECONDS",
        "_READ_SECONDS",
        "_TABLE_LOCK_SECONDS",
        "_EVIDENCE_SECONDS",
        "_WHOLE_SECONDS",
    ),
}


@pytest.fixture(autouse=True)
def _patient_checks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy makes no check late, but in tests of the deadlines themselves."""
    if not request.node.get_closest_marker("real_deadlines"):
        be_patient(monkeypatch)


def be_patient(patch: pytest.MonkeyPatch) -> None:
    """Give checks ten times as long, until the patch is undone."""
    for module, names in _DEADLINES.items():
        for name in names:
            patch.setattr(f"{module}.{name}", 10 * getattr(import_module(module), name))


@pytest.fixture
def tenant(db: None) -> CusTenant:
    return make_tenant()


@pytest.fixture
def admin(tenant: CusTenant) -> CusUser:
    """An admin of `tenant`."""
    return make_user("admin", tenant)


@pytest.fixture
def integration(tenant: CusTenant) -> CusIntegration:
    return make_integration(tenant)


@pytest.fixture
def limited(integration: CusIntegration) -> CusIntegration:
    """`integration` with a limit that nothing reaches: without any, nothing is held for calls."""
    CusIntegration.objects.filter(id=integration.id).update(token_limit_month=10**15)
    integration.refresh_from_db()
    return integration


@pytest.fixture
def sdk(integration: CusIntegration) -> SdkClient:
    """A program that holds a key of `integration`."""
    _, key = issue_sdk_key(integration)
    return SdkClient(key)


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    """A customer's receiver of webhooks."""
    with Receiver() as one:
        one.allow(settings)
        yield one
