"""How a migration locks a table that programs use while it runs."""

import time

from psycopg.errors import DeadlockDetected, LockNotAvailable

# A lock that others wait behind is asked for this long at a time, and this often.
LOCK_SECONDS = 2
TRIES = 150


def patiently(cursor, statements):
    """Run statements in one transaction; give way to those who use the table, and try again."""
    for attempt in range(TRIES):
        try:
            cursor.execute(
                f"BEGIN; SET LOCAL lock_timeout = '{LOCK_SECONDS}s'; {statements}; COMMIT"
            )
            return
        except Exception as error:
            cursor.execute("ROLLBACK")
            busy = isinstance(error.__cause__, LockNotAvailable | DeadlockDetected)
            if not busy or attempt == TRIES - 1:
                raise
            time.sleep(1)
