"""(c) Reading an integration's totals beside summing its rows."""

import time
import uuid
from datetime import UTC, datetime
from statistics import median
from typing import Any

from django.db import connections

from benchmarks.cus_databases import month_start, totals_tables
from benchmarks.cus_fill import Filled
from benchmarks.cus_report import Section
from benchmarks.cus_rounds import Contestant, contest, ratio
from benchmarks.cus_sizes import Sizes
from benchmarks.cus_targets import TOTALS_READ
from integrations.cus_keys.verifier import SdkPrincipal
from telemetry.cus_evidence.partitions import TABLE

_SUMMED = ("tokens_in", "tokens_out", "cost_cents", "cost_microcents")
_SUMS = ", ".join(f"coalesce(sum({name}), 0)::bigint" for name in _SUMMED)
_BELONGS = "tenant_id = %(tenant)s AND integration_id = %(integration)s"
_READS = 100


def measure(sizes: Sizes, filled: Filled) -> Section:
    section = Section(
        "An integration's totals beside SUM over its rows of this month",
        ("table", "rows", "times faster", "totals, ms", "target", "SUM, ms"),
    )
    for table in totals_tables(filled.database):
        for integration_id, rows in filled.integrations:
            who = {"tenant": filled.tenant_id, "integration": integration_id}
            section.rows.append([table, f"{rows:,}", *_figures(sizes, filled.database, table, who)])
    section.notes.append(
        "A read is a round trip of its own, sums of four columns, PostgreSQL warm."
    )
    return section


def read_totals(database: str, table: str, who: dict[str, uuid.UUID]) -> Any:
    """The sums over the shards: of this month where the table knows months, else for life."""
    by_month = "period" in totals_tables(database)[table]
    return _one(database, *_totals_query(table, who, by_month=by_month))


def sum_rows(database: str, who: dict[str, uuid.UUID]) -> Any:
    """The same sums over this month's rows themselves."""
    return _one(database, *_sum_query(who))


def check(database: str, principal: SdkPrincipal) -> str:
    """Totals against rows after a contest: a note for its table. Raises AssertionError."""
    who = {"tenant": principal.tenant_id, "integration": principal.integration_id}
    rows = sum_rows(database, who)
    for table in totals_tables(database):
        assert read_totals(database, table, who) == rows, f"{table} is not the SUM of its rows"
    return "Checked afterwards: the totals equal the SUM of the rows."


def _figures(sizes: Sizes, database: str, table: str, who: dict[str, uuid.UUID]) -> list[str]:
    assert read_totals(database, table, who) == sum_rows(database, who)
    by_month = "period" in totals_tables(database)[table]
    ours = _totals_query(table, who, by_month=by_month)
    plain = _sum_query(who)
    totals = Contestant("totals", lambda: _timed(database, *ours, times=_READS))
    summing = Contestant("sum", lambda: _timed(database, *plain, times=1))
    seconds = contest([totals, summing], min(sizes.rounds, 7))
    reads = [taken / _READS for taken in seconds["totals"]]
    milliseconds = median(reads) * 1_000
    return [
        f"{ratio(seconds['sum'], reads):,.0f} x",
        f"{milliseconds:.3f}",
        TOTALS_READ.verdict(milliseconds),
        f"{median(seconds['sum']) * 1_000:,.1f}",
    ]


def _timed(database: str, query: str, values: dict[str, Any], *, times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        _one(database, query, values)
    return time.perf_counter() - started


def _totals_query(
    table: str, who: dict[str, uuid.UUID], *, by_month: bool
) -> tuple[str, dict[str, Any]]:
    month = " AND period = %(month)s" if by_month else ""
    text = f"SELECT {_SUMS} FROM {table} WHERE {_BELONGS}{month}"  # noqa: S608  (names of ours)
    values = who | {"month": month_start(datetime.now(UTC)).date()}
    return text, values


def _sum_query(who: dict[str, uuid.UUID]) -> tuple[str, dict[str, Any]]:
    text = f"SELECT {_SUMS} FROM {TABLE} WHERE {_BELONGS} AND created_at >= %(month)s"  # noqa: S608  (names of ours)
    return text, who | {"month": month_start(datetime.now(UTC))}


def _one(database: str, query: str, values: dict[str, Any]) -> Any:
    with connections[database].cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchone()
