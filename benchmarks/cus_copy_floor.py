"""The floor under ingest: a bare COPY into a table that is built like the usage table."""

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connection, connections
from psycopg import sql
from psycopg.types.json import Jsonb

from benchmarks.cus_databases import owner_of
from telemetry.cus_evidence.evidence_row import EvidenceRow
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.partitions import TABLE, existing_months

FLOOR = "cus_bench_floor"
# No guarantee of ours is in it: no ledger, no totals, nothing that tells a replay.
_MAKE = (
    "CREATE TABLE {floor} (LIKE {table} INCLUDING ALL) PARTITION BY RANGE (created_at)",
    "GRANT INSERT, SELECT ON {floor} TO {app}",
)
_MAKE_MONTH = "CREATE TABLE {month} PARTITION OF {floor} FOR VALUES FROM ({low}) TO ({high})"
_COLUMNS = [
    name
    for name in (field.attname for field in CusLLMUsage._meta.fields)
    if name in EvidenceRow.__struct_fields__
]
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def make_floor(database: str) -> None:
    """The usage table once more, with the same months, checks and indexes."""
    names = {"floor": sql.Identifier(FLOOR), "table": sql.Identifier(TABLE)}
    names["app"] = sql.Identifier(connections[database].settings_dict["USER"])
    with connections[owner_of(database)].cursor() as cursor:
        for statement in _MAKE:
            cursor.execute(sql.SQL(statement).format(**names))
        for month in existing_months(owner_of(database)):
            bounds = {
                "low": sql.Literal(month.start.isoformat()),
                "high": sql.Literal(month.shifted(1).start.isoformat()),
                "month": sql.Identifier(month.partition.replace(TABLE, FLOOR)),
            }
            cursor.execute(sql.SQL(_MAKE_MONTH).format(**names, **bounds))


def copy_text(tenant_id: uuid.UUID, rows: Sequence[EvidenceRow]) -> bytes:
    """The rows in COPY's own text format, made before the clock starts."""
    made_at = (str(tenant_id), datetime.now(UTC).isoformat())
    lines = (
        "\t".join((*made_at, *(_text(getattr(row, name)) for name in _COLUMNS))) for row in rows
    )
    return "".join(f"{line}\n" for line in lines).encode()


def copy_in(text: bytes) -> None:
    """One COPY, committed when this returns."""
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.write(text)


def copy_rows(tenant_id: uuid.UUID, rows: Sequence[EvidenceRow]) -> None:
    """The same from the rows themselves, which psycopg encodes."""
    made_at = (tenant_id, datetime.now(UTC))
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for row in rows:
            copy.write_row((*made_at, *(_value(getattr(row, name)) for name in _COLUMNS)))


def _value(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, (dict, list)) else value


def _text(value: Any) -> str:
    if value is None:
        return r"\N"
    if isinstance(value, (dict, list)):
        value = json.dumps(value)
    return str(value).translate(_ESCAPES)


_COPY = f"COPY {FLOOR} (tenant_id, created_at, {', '.join(_COLUMNS)}) FROM STDIN"
