"""Read within a time, so that one tenant's many rows keep nobody else waiting."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg.errors import QueryCanceled


class TooSlow(Exception):
    """A statement took longer than it may."""


@contextmanager
def statements_within(milliseconds: int) -> Iterator[CursorWrapper]:
    """A transaction in which each statement may take so long. Raises TooSlow."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {milliseconds}")
            yield cursor
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise TooSlow from error
