"""(a) The ingest statement beside a bare COPY, each batch a durable commit of its own."""

from statistics import median

from benchmarks import cus_totals
from benchmarks.cus_copy_floor import copy_in, copy_rows, copy_text, make_floor
from benchmarks.cus_databases import Sender, new_database
from benchmarks.cus_report import Section
from benchmarks.cus_rounds import Contestant, contest, ratio
from benchmarks.cus_sizes import BATCHES, Sizes
from benchmarks.cus_targets import STATEMENT_BESIDE_COPY
from benchmarks.cus_traffic import call_ids, row_batches
from telemetry.cus_evidence_store import EvidenceRow, store_batch


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
    for batch in BATCHES:
        section.rows.append(_row(batch, sizes, database, sender))
    section.notes.append(
        "COPY gets its text ready-made; the other one, like the statement, the rows as Python has them."
    )
    section.notes.append(cus_totals.check(database, sender.principal))
    return section


def _row(batch: int, sizes: Sizes, database: str, sender: Sender) -> list[str]:
    ids, turn, tenant_id = call_ids(), sizes.turns[batch], sender.principal.tenant_id

    def batches() -> list[list[EvidenceRow]]:
        return row_batches(sender, ids, size=batch, number=turn)

    ours = Contestant("ours", batches, lambda rows: store_batch(tenant_id, rows, using=database))
    floor = Contestant(
        "floor",
        lambda: [copy_text(tenant_id, rows) for rows in batches()],
        lambda text: copy_in(database, text),
    )
    encoding = Contestant("encoding", batches, lambda rows: copy_rows(database, tenant_id, rows))
    seconds = contest([ours, floor, encoding], sizes.rounds)
    of_copy = ratio(seconds["floor"], seconds["ours"])
    target = STATEMENT_BESIDE_COPY.get(batch)
    return [
        str(batch),
        f"{of_copy:.2f} x",
        target.verdict(of_copy) if target else "-",
        f"{ratio(seconds['encoding'], seconds['ours']):.2f} x",
        *(f"{batch * turn / median(seconds[name]):,.0f}" for name in seconds),
    ]
