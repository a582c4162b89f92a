"""Grant each database role its privileges, table by table (ruling E5).

Three roles: the owner makes tables, the application works with them, and enforcement becomes the
decider by `SET ROLE`. A model declares the privileges of the latter two in `app_privileges` and
`decider_privileges`; without these the application may do everything and the decider nothing.
Functions that one role alone may call are declared in `app_functions` and `decider_functions`.
Every migrate run grants again, so no table can be forgotten.
"""

from collections.abc import Iterable
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

_ALL_ROWS = "SELECT, INSERT, UPDATE, DELETE"
# Tables of other packages whose rows are a record and so must not be changed.
_RECORDS_OF_OTHERS = {"django_admin_log": "SELECT, INSERT"}


class DeciderRoleMissing(RuntimeError):
    """The decider's role does not exist, and this login may not create it."""

    def __init__(self, role: str, member: str) -> None:
        super().__init__(
            f"The database role {role} does not exist and this login may not create roles. As a "
            f'superuser run: CREATE ROLE "{role}" NOLOGIN; GRANT "{role}" TO "{member}";'
        )


def grant_after_migrate(
    sender: AppConfig,
    using: str = DEFAULT_DB_ALIAS,
    plan: Iterable[tuple[Any, bool]] = (),
    **_signal: Any,
) -> None:
    """Signal handler: grants once a migrate run, after the last app.

    Not on the way back to an earlier release: what is declared here is of tables and columns that are
    gone. That release's own run grants what it declares.
    """
    if any(is_backwards for _, is_backwards in plan):
        return
    # Django sends the signal once for each app that has models.
    last = [app for app in apps.get_app_configs() if app.models_module][-1]
    if sender.name == last.name:
        grant_roles(connections[using])


def grant_roles(connection: BaseDatabaseWrapper) -> None:
    """Grant application and decider the models' privileges. Needs the owner's connection."""
    app = str(settings.DATABASES[DEFAULT_DB_ALIAS]["USER"])
    decider = settings.CUS_DECIDER_ROLE
    _ensure_decider(connection, decider, member=app)
    # In one transaction: otherwise a running product would be refused between REVOKE and GRANT.
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        for role in (app, decider):
            cursor.execute(_sql("GRANT USAGE ON SCHEMA public TO {role}", role=role))
        cursor.execute(_sql("GRANT SELECT ON django_migrations TO {role}", role=app))
        for table, app_may, decider_may in _wishes():
            _grant(cursor, table, app, app_may)
            _grant(cursor, table, decider, decider_may)
        for declared, role in (("app_functions", app), ("decider_functions", decider)):
            for function in _functions(declared):
                _grant_function(cursor, function, role)


def _wishes() -> list[tuple[str, str, str]]:
    """(table, privileges of the application, privileges of the decider) of every model's table."""
    found = {}
    for model in apps.get_models(include_auto_created=True):
        found[model._meta.db_table] = (
            _RECORDS_OF_OTHERS.get(
                model._meta.db_table, _declared(model, "app_privileges", _ALL_ROWS)
            ),
            _declared(model, "decider_privileges", ""),
        )
    return [(table, *may) for table, may in sorted(found.items())]


def _declared(model: type[models.Model], name: str, default: str) -> str:
    declared = getattr(model, name, default)
    return str(declared() if callable(declared) else declared)


def _functions(declared: str) -> list[str]:
    """The functions, with the types of their arguments, that models let a role alone call."""
    models_of_all = apps.get_models()
    return sorted(name for model in models_of_all for name in getattr(model, declared, ()))


def _grant_function(cursor: Any, function: str, role: str) -> None:
    # PostgreSQL lets everybody call a new function.
    cursor.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    cursor.execute(_sql(f"GRANT EXECUTE ON FUNCTION {function} TO {{role}}", role=role))


def _grant(cursor: Any, table: str, role: str, privileges: str) -> None:
    owner = owner_of(cursor, table)
    if owner == role:
        return  # Local set-ups have a single login, which owns the tables and needs no grant.
    names = {"table": table, "role": role}
    cursor.execute(_sql("REVOKE ALL ON {table} FROM {role}", **names))
    if privileges:
        cursor.execute(_sql(f"GRANT {privileges} ON {{table}} TO {{role}}", **names))


def owner_of(cursor: Any, table: str) -> str:
    """The name of the role that owns a table."""
    cursor.execute("SELECT tableowner FROM pg_tables WHERE tablename = %s", [table])
    return str(cursor.fetchone()[0])


def _ensure_decider(connection: BaseDatabaseWrapper, role: str, *, member: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
        )
        may_create = cursor.fetchone()[0]
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
        if cursor.fetchone():
            return
        if not may_create:
            raise DeciderRoleMissing(role, member)
        cursor.execute(_sql("CREATE ROLE {role} NOLOGIN", role=role))
        cursor.execute(_sql("GRANT {role} TO {member}", role=role, member=member))


def _sql(statement: str, **names: str) -> sql.Composed:
    # The statements are constants of this module; only names are inserted, quoted.
    identifiers = {key: sql.Identifier(name) for key, name in names.items()}
    return sql.SQL(statement).format(**identifiers)
