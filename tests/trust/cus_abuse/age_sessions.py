"""`python -m tests.trust.cus_abuse.age_sessions`: ten minutes pass for all that sessions remember.

By the look of the values, not by their names: a number or a text in a session that is a moment
of the last hour, and moments in tables whose names speak of sessions or proofs.
"""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import django
import psycopg
from psycopg import sql

_AGE = timedelta(minutes=10)
_RECENT_SECONDS = 3_600


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")
    django.setup()
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session

    for session in Session.objects.all():
        values = {name: _aged(value) for name, value in session.get_decoded().items()}
        session.session_data = SessionStore().encode(values)
        session.save(update_fields=["session_data"])
    _age_tables()


def _aged(value: Any) -> Any:
    now = datetime.now(UTC)
    if isinstance(value, dict):
        return {name: _aged(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_aged(inner) for inner in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and abs(now.timestamp() - value) < _RECENT_SECONDS:
        return value - type(value)(_AGE.total_seconds())
    if isinstance(value, str):
        return _aged_text(value, now)
    return value


def _aged_text(text: str, now: datetime) -> str:
    try:
        moment = datetime.fromisoformat(text)
        recent = abs((now - moment).total_seconds()) < _RECENT_SECONDS
    except (ValueError, TypeError):
        return text
    return (moment - _AGE).isoformat() if recent else text


def _age_tables() -> None:
    with psycopg.connect(os.environ["CUS_SUPERUSER_URL"], autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name ~ '^cus_.*(session|proof)'"
            " AND data_type = 'timestamp with time zone' AND column_name !~ 'expir'"
        ).fetchall()
        for table, column in columns:
            age = sql.SQL("UPDATE {table} SET {column} = {column} - interval '10 minutes'")
            names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
            connection.execute(age.format(**names))


if __name__ == "__main__":
    main()
