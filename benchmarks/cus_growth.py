"""(d) The cost of an event as the rows of its partition, and the months before it, grow."""

from contextlib import ExitStack
from functools import partial
from statistics import median

from benchmarks.cus_databases import Sender
from benchmarks.cus_report import Section
from benchmarks.cus_rounds import Contestant, contest, ratio
from benchmarks.cus_sizes import Sizes
from benchmarks.cus_store_process import StoreProcess
from benchmarks.cus_targets import FILLED_BESIDE_FRESH, THIRTEENTH_BESIDE_FIRST

_BATCH = 500


def measure(sizes: Sizes, sender: Sender, *, fresh: str, filled: str, thirteenth: str) -> Section:
    databases = {"fresh": fresh, "filled": filled, "thirteenth": thirteenth}
    seconds = _contest(databases, sizes, sender)
    rows = f"{sizes.filled_rows:,} rows"
    section = Section(
        "Cost of an event as the database grows (batches of 500, one connection)",
        ("into", "of a fresh one", "target", "µs an event", "fresh, µs"),
    )
    fresh_cost = _cost(seconds["fresh"], sizes)
    for name, where, target in (
        ("filled", f"a partition of {rows}", FILLED_BESIDE_FRESH),
        ("thirteenth", f"the 13th month, {rows} in twelve before", THIRTEENTH_BESIDE_FIRST),
    ):
        times = ratio(seconds[name], seconds["fresh"])
        figures = (
            f"{times:.2f} x",
            target.verdict(times, rows=sizes.filled_rows),
            _cost(seconds[name], sizes),
            fresh_cost,
        )
        section.rows.append((where, *figures))
    return section


def _contest(databases: dict[str, str], sizes: Sizes, sender: Sender) -> dict[str, list[float]]:
    turn = {"batch": _BATCH, "batches": sizes.growth_turn}
    with ExitStack() as stack:
        stores = {
            name: stack.enter_context(StoreProcess(database, sender))
            for name, database in databases.items()
        }
        contestants = [
            Contestant(name, partial(store.turn, "statement", **turn))
            for name, store in stores.items()
        ]
        return contest(contestants, sizes.rounds)


def _cost(seconds: list[float], sizes: Sizes) -> str:
    return f"{median(seconds) / (sizes.growth_turn * _BATCH) * 1e6:.1f}"
