"""(a) The ingest statement beside a bare COPY, each batch a durable commit of its own."""

from functools import partial
from statistics import median

from benchmarks import cus_totals
from benchmarks.cus_copy_floor import make_floor
from benchmarks.cus_databases import Sender, new_database
from benchmarks.cus_report import Section
from benchmarks.cus_rounds import Contestant, contest, ratio
from benchmarks.cus_sizes import BATCHES, Sizes
from benchmarks.cus_store_process import StoreProcess
from benchmarks.cus_targets import STATEMENT_BESIDE_COPY

_KINDS = ("statement", "copy", "copy_rows")


def measure(sizes: Sizes, sender: Sender) -> Section:
    section = Section(
        "Ingest statement beside COPY into the same indexed table (one connection)",
        (
            *("batch", "of COPY", "target", "of COPY that encodes too", "statement, rows/s"),
            *("COPY, rows/s", "and encoding, rows/s"),
        ),
    )
    database = new_database("bench_ingest")
    make_floor(database)
    with StoreProcess(database, sender) as store:
        section.rows = [_row(batch, sizes.turns[batch], sizes.rounds, store) for batch in BATCHES]
    section.notes = [
        "COPY gets its text ready-made; the other one, like the statement, rows as Python has them.",
        cus_totals.check(database, sender.principal),
    ]
    return section


def _row(batch: int, batches: int, rounds: int, store: StoreProcess) -> list[str]:
    contestants = [
        Contestant(kind, partial(store.turn, kind, batch=batch, batches=batches)) for kind in _KINDS
    ]
    seconds = contest(contestants, rounds)
    of_copy = ratio(seconds["copy"], seconds["statement"])
    target = STATEMENT_BESIDE_COPY.get(batch)
    return [
        str(batch),
        f"{of_copy:.2f} x",
        target.verdict(of_copy) if target else "-",
        f"{ratio(seconds['copy_rows'], seconds['statement']):.2f} x",
        *(f"{batch * batches / median(seconds[kind]):,.0f}" for kind in _KINDS),
    ]
