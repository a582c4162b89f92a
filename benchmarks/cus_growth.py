"""(d) What an event costs as rows pile up in its partition, and months behind it."""

from statistics import median

from benchmarks.cus_databases import Sender
from benchmarks.cus_report import Section
from benchmarks.cus_rounds import Contestant, contest, ratio
from benchmarks.cus_sizes import Sizes
from benchmarks.cus_targets import FILLED_BESIDE_FRESH, THIRTEENTH_BESIDE_FIRST
from benchmarks.cus_traffic import call_ids, row_batches
from telemetry.cus_evidence_store import store_batch

_BATCH = 500


def measure(sizes: Sizes, sender: Sender, *, fresh: str, filled: str, thirteenth: str) -> Section:
    databases = {"fresh": fresh, "filled": filled, "thirteenth": thirteenth}
    contestants = [_contestant(*item, sizes, sender) for item in databases.items()]
    seconds = contest(contestants, sizes.rounds)
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
        figures = (f"{times:.2f} x", target.verdict(times), _cost(seconds[name], sizes), fresh_cost)
        section.rows.append((where, *figures))
    return section


def _contestant(name: str, database: str, sizes: Sizes, sender: Sender) -> Contestant:
    ids, tenant_id = call_ids(), sender.principal.tenant_id
    return Contestant(
        name,
        lambda: row_batches(sender, ids, size=_BATCH, number=sizes.growth_turn),
        lambda batch: store_batch(tenant_id, batch, using=database),
    )


def _cost(seconds: list[float], sizes: Sizes) -> str:
    return f"{median(seconds) / (sizes.growth_turn * _BATCH) * 1e6:.1f}"
