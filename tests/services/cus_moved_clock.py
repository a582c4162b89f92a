"""A clock of the database and of Django that a test moves.

`now()` and `clock_timestamp()` in statements of the product are functions of a schema that its
connections look into before PostgreSQL's own. Defaults of columns, and functions with a search path
of their own, keep PostgreSQL's clock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from django.db import connections
from django.utils import timezone

from tests.conftest import _superuser

_MADE = """
DROP SCHEMA IF EXISTS moved CASCADE;
CREATE SCHEMA moved;
GRANT USAGE ON SCHEMA moved TO PUBLIC;
CREATE FUNCTION moved.now() RETURNS timestamptz STABLE LANGUAGE sql
    AS $$ SELECT current_setting('moved.to')::timestamptz $$;
CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz STABLE LANGUAGE sql
    AS $$ SELECT current_setting('moved.to')::timestamptz $$;
"""


class MovedClock:
    """The clock; it stands until it is moved."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def move(self, moment: datetime) -> None:
        """It is this moment now, for the application's and the owner's connections."""
        for name in ("default", "owner"):
            with connections[name].cursor() as cursor:
                cursor.execute("SELECT set_config('moved.to', %s, false)", [moment.isoformat()])
        self._patch.setattr(timezone, "now", lambda: moment)


@contextmanager
def moved_clock(moment: datetime) -> Iterator[MovedClock]:
    """A clock that stands at a moment."""
    with _superuser(str(connections["default"].settings_dict["NAME"])) as superuser:
        superuser.execute(_MADE)
        with pytest.MonkeyPatch.context() as patch:
            try:
                for name in ("default", "owner"):
                    with connections[name].cursor() as cursor:
                        cursor.execute("SET search_path = public, moved, pg_catalog")
                clock = MovedClock(patch)
                clock.move(moment)
                yield clock
            finally:
                for name in ("default", "owner"):
                    connections[name].close()
                superuser.execute("DROP SCHEMA moved CASCADE")
