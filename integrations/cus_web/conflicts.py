"""Turn violations of unique constraints into refusals, for two requests at the same moment."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import IntegrityError, transaction

from integrations.cus_web.errors import CusError


@contextmanager
def refused_by(**errors: type[CusError]) -> Iterator[None]:
    """Run the block in a savepoint; raise the named error if the named constraint is violated."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        diagnosis = getattr(error.__cause__, "diag", None)
        refusal = errors.get(getattr(diagnosis, "constraint_name", None) or "")
        if refusal is None:
            raise
        raise refusal from None
