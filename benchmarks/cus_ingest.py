"""(a) The ingest statement beside a bare COPY, each batch a durable commit of its own."""

from functools import partial
from statistics import median

from django.db import connections
from psycopg import sql

from benchmarks import cus_totals
from benchmarks.cus_copy_floor import make_floor
from benchmarks.cus_databases import Sender, new_database, owner_of
from benchmarks.cus_report import Section
from benchmarks.cus_rounds import Contestant, contest, ratio
from benchmarks.cus_sizes import BATCHES, Sizes
from benchmarks.cus_store_process import StoreProcess
from benchmarks.cus_targets import BESIDE_UNGUARDED, STATEMENT_BESIDE_COPY

_KINDS = ("statement", "copy", "copy_rows")
_UNGUARDED = "unguarded"
# What keeps totals from falling; ingest runs through them with every batch.
_GUARDS = ("cus_no_fall", "cus_no_start_below")
_GUARDED = ("cus_period_totals", "cus_lifetime_totals")


def measure(sizes: Sizes, sender: Sender) -> Section:
    section = Section(
        "Ingest statement beside COPY into the same indexed table (one connection)",
        (
            *("batch", "of COPY", "target", "of COPY that encodes too", "statement, rows/s"),
            *("COPY, rows/s", "and encoding, rows/s", "of no guards", "target"),
        ),
    )
    database, unguarded = new_database("bench_ingest"), new_database("bench_unguarded")
    make_floor(database)
    _drop_guards(unguarded)
    with StoreProcess(database, sender) as store, StoreProcess(unguarded, sender) as without:
        section.rows = [
            _row(batch, sizes.turns[batch], sizes.rounds, store, without) for batch in BATCHES
        ]
    section.notes = [
        "COPY gets its text ready-made; the other one, like the statement, rows as Python has them.",
        "Of no guards: the statement in a database whose totals may fall.",
        cus_totals.check(database, sender.principal),
    ]
    return section


def _drop_guards(database: str) -> None:
    drop = sql.SQL("DROP TRIGGER {} ON {}")
    with connections[owner_of(database)].cursor() as cursor:
        for table in _GUARDED:
            for guard in _GUARDS:
                cursor.execute(drop.format(sql.Identifier(guard), sql.Identifier(table)))


def _row(
    batch: int, batches: int, rounds: int, store: StoreProcess, without: StoreProcess
) -> list[str]:
    contestants = [
        Contestant(kind, partial(store.turn, kind, batch=batch, batches=batches)) for kind in _KINDS
    ]
    unguarded = partial(without.turn, "statement", batch=batch, batches=batches)
    contestants.append(Contestant(_UNGUARDED, unguarded))
    seconds = contest(contestants, rounds)
    of_copy = ratio(seconds["copy"], seconds["statement"])
    target = STATEMENT_BESIDE_COPY.get(batch)
    of_unguarded = ratio(seconds[_UNGUARDED], seconds["statement"])
    return [
        str(batch),
        f"{of_copy:.2f} x",
        target.verdict(of_copy) if target else "-",
        f"{ratio(seconds['copy_rows'], seconds['statement']):.2f} x",
        *(f"{batch * batches / median(seconds[kind]):,.0f}" for kind in _KINDS),
        f"{of_unguarded:.2f} x",
        BESIDE_UNGUARDED.verdict(of_unguarded),
    ]
