"""A tenant whose rows can't be stored, so that work on it fails and work on others has to go on."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from tests.cus_prepared_database import superuser

_BREAK = """
CREATE FUNCTION break_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.tenant_id = '{tenant}' THEN RAISE EXCEPTION 'this tenant is broken'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER break_rows BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION break_rows();
"""


@contextmanager
def broken(tenant: uuid.UUID, *, table: str) -> Iterator[None]:
    """No row of the tenant can be stored in the table."""
    with superuser(str(connections["default"].settings_dict["NAME"])) as connection:
        connection.execute(_BREAK.format(tenant=tenant, table=table).encode())
        try:
            yield
        finally:
            connection.execute("DROP FUNCTION break_rows CASCADE")
