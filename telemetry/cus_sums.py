"""Sums of BIGINT columns by `cus_sum`, an aggregate of ours that counts in BIGINT.

PostgreSQL's own `sum` of BIGINT counts in NUMERIC, which no sum can overflow, and takes three times
as long. A sum that overflows ends a statement with `cus_sum`; that statement is then executed with
`cus_sum_bounded`, which stays at the end of what the type holds.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db import DataError, transaction
from psycopg.errors import NumericValueOutOfRange


def execute_sums(cursor: Any, statement: str, values: Any = None) -> None:
    """Execute a statement whose sums are `cus_sum`; amounts that no column holds are bounded."""
    # A savepoint leaves the caller's transaction as it was; without one nothing is to be left.
    is_inside = transaction.get_connection().in_atomic_block
    guard: AbstractContextManager[None] = transaction.atomic() if is_inside else nullcontext()
    try:
        with guard:
            cursor.execute(statement, values)
    except DataError as error:
        if not isinstance(error.__cause__, NumericValueOutOfRange):
            raise
        cursor.execute(statement.replace("cus_sum(", "cus_sum_bounded("), values)
