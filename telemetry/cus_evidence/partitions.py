"""Monthly partitions of the usage table and its like: made ahead, guarded one by one (rulings E3, E5).

The owner's connection makes them. A month is made as a table of its own and then attached,
which, unlike `CREATE TABLE … PARTITION OF`, does not lock out ingest.
"""

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

from django.conf import settings
from django.db import connections, transaction
from psycopg import sql

from telemetry.cus_evidence.models import CusDroppedMonth

TABLE = "cus_llm_usage"
_PARTITION = re.compile(r"(\w+)_(\d{4})_(\d{2})")
_MONTHS_BEHIND = 1
# Retention keeps as many whole months at least (ruling E5).
LEAST_KEPT_MONTHS = 3
# Two makers at once would both find a month missing: one waits for the other.
_LOCK_KEY = 0x6375735F7061  # "cus_pa"


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month in UTC."""

    year: int
    number: int

    @classmethod
    def of(cls, moment: datetime | date) -> "Month":
        return cls(moment.year, moment.month)

    def shifted(self, months: int) -> "Month":
        """The month so many later (or, below zero, earlier)."""
        year, index = divmod(self.year * 12 + self.number - 1 + months, 12)
        return Month(year, index + 1)

    @property
    def start(self) -> datetime:
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    @property
    def partition(self) -> str:
        """The name of the month's partition of the usage table."""
        return self.partition_of(TABLE)

    def partition_of(self, table: str) -> str:
        """The name of the month's partition of a table."""
        return f"{table}_{self.year:04d}_{self.number:02d}"

    def __str__(self) -> str:
        return f"{calendar.month_name[self.number]} {self.year}"


def wanted_months(now: datetime) -> list[Month]:
    """The months that must exist: the past one, this, and the next ones ahead."""
    current = Month.of(now.astimezone(UTC))
    ahead = settings.CUS_PARTITIONS_AHEAD_MONTHS
    return [current.shifted(offset) for offset in range(-_MONTHS_BEHIND, ahead + 1)]


def existing_months(using: str = "default", *, table: str = TABLE) -> set[Month]:
    """The months for which a table has an attached partition."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass",
            [table],
        )
        matches = [_PARTITION.fullmatch(name) for (name,) in cursor.fetchall()]
    return {Month(int(match[2]), int(match[3])) for match in matches if match}


def months_with_evidence() -> set[Month]:
    """The months whose rows can be read, now and later: retention has not begun to drop them."""
    dropped = CusDroppedMonth.objects.values_list("month", flat=True)
    return existing_months() - {Month.of(month) for month in dropped}


@dataclass(frozen=True)
class Partition:
    """A month that exists: its rows as PostgreSQL estimates them, its sizes as it says them."""

    month: Month
    rows: int
    table_size: str
    indexes_size: str


def partitions(using: str = "default") -> list[Partition]:
    """The months that exist, the earliest first."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT relname, greatest(reltuples, 0)::bigint, pg_size_pretty(pg_table_size(oid)),"
            " pg_size_pretty(pg_indexes_size(oid)) FROM pg_class"
            " JOIN pg_inherits ON inhrelid = oid WHERE inhparent = %s::regclass ORDER BY relname",
            [TABLE],
        )
        found = [(_PARTITION.fullmatch(name), *rest) for name, *rest in cursor.fetchall()]
    return [
        Partition(Month(int(match[2]), int(match[3])), *rest) for match, *rest in found if match
    ]


def make_partitions(now: datetime, using: str = "owner", *, table: str = TABLE) -> list[Month]:
    """Make a table's months that are wanted and missing; says which it made.

    The table is partitioned by `created_at`, and guarded as evidence is.
    """
    made = []
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
        # Better to try again later than to make ingest queue behind us.
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        present = existing_months(using, table=table)
        for month in wanted_months(now):
            if month not in present:
                for statement in _statements(table, month):
                    cursor.execute(statement)
                made.append(month)
    return made


def drop_partition(month: Month, using: str = "owner") -> None:
    """Drop a month's usage rows for good. Called again after a failure, go on where it ended.

    Not in a transaction: the month is detached without locking out ingest and reads.
    """
    names = {"parent": sql.Identifier(TABLE), "partition": sql.Identifier(month.partition)}
    with connections[using].cursor() as cursor:
        # Detaching waits for every transaction that reads the table, such as a verification.
        cursor.execute("SET statement_timeout = 0")
        try:
            cursor.execute(_DETACHING, [month.partition])
            for (is_pending,) in cursor.fetchall():
                statement = _FINISH_DETACHING if is_pending else _DETACH
                cursor.execute(sql.SQL(statement).format(**names))
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {partition}").format(**names))
        finally:
            cursor.execute("RESET statement_timeout")


# No row: the month is detached.
_DETACHING = "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(%s)"
_DETACH = "ALTER TABLE {parent} DETACH PARTITION {partition} CONCURRENTLY"
_FINISH_DETACHING = "ALTER TABLE {parent} DETACH PARTITION {partition} FINALIZE"


def _statements(table: str, month: Month) -> list[sql.Composed]:
    partition = month.partition_of(table)
    names = {
        "parent": sql.Identifier(table),
        "partition": sql.Identifier(partition),
        "bounds": sql.Identifier(f"{partition}_bounds"),
        "low": sql.Literal(month.start.isoformat()),
        "high": sql.Literal(month.shifted(1).start.isoformat()),
    }
    return [sql.SQL(statement).format(**names) for statement in _MAKE]


_MAKE = (
    "CREATE TABLE {partition} (LIKE {parent} INCLUDING ALL)",
    # Lets ATTACH trust the bounds without reading the table; not needed afterwards.
    "ALTER TABLE {partition} ADD CONSTRAINT {bounds}"
    " CHECK (created_at >= {low} AND created_at < {high})",
    "ALTER TABLE {parent} ATTACH PARTITION {partition} FOR VALUES FROM ({low}) TO ({high})",
    "ALTER TABLE {partition} DROP CONSTRAINT {bounds}",
    # Named on the partition itself: the parent's trigger guards the parent's name alone.
    "CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {partition}"
    " FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change()",
)
