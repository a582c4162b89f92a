"""Unique constraints as refusals: two requests at once meet in the database alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import IntegrityError, transaction

from integrations.cus_web.errors import CusError


@contextmanager
def refused_by(**errors: type[CusError]) -> Iterator[None]:
    """Runs its block in a savepoint; the violation of a constraint named here is that error."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        diagnosis = getattr(error.__cause__, "diag", None)
        refusal = errors.get(getattr(diagnosis, "constraint_name", None) or "")
        if refusal is None:
            raise
        raise refusal from None
