"""(b) Events a second from a socket to a durable commit, beside a plain DRF endpoint."""

from collections.abc import Mapping
from statistics import median

from django.db import connections

from benchmarks import cus_totals
from benchmarks.cus_databases import Sender, new_database
from benchmarks.cus_loading import Load, put_load
from benchmarks.cus_report import Section
from benchmarks.cus_rounds import percentile
from benchmarks.cus_served import PLAIN_DRF, PRODUCT, served
from benchmarks.cus_sizes import BATCHES, Sizes
from benchmarks.cus_targets import BESIDE_DRF, EVENTS_A_SECOND
from telemetry.cus_evidence.partitions import TABLE

_WARM_UP_SECONDS = 1.0


def measure(sizes: Sizes, sender: Sender) -> Section:
    section = Section(
        "Events a second over HTTP beside DRF serializers and bulk_create (granian, 2 x 4 threads)",
        (
            "batch",
            "of DRF",
            "target",
            "events/s",
            "target",
            "p50/p99 ms",
            "DRF, events/s",
            "p50/p99",
        ),
    )
    # Each its own database of one PostgreSQL, so that neither fills the other's partition.
    databases = {name: new_database(f"bench_{name}") for name in ("product", "drf")}
    with (
        served(PRODUCT, databases["product"]) as product,
        served(PLAIN_DRF, databases["drf"]) as drf,
    ):
        ports = {"product": product, "drf": drf}
        loads = {batch: contest_of_servers(batch, ports, sizes, sender) for batch in BATCHES}
    for batch, measured in loads.items():
        section.rows.append(_row(batch, measured))
    section.notes.append(_check(databases["product"], sender, sum_events(loads)))
    return section


def sum_events(loads: Mapping[int, Mapping[str, list[Load]]]) -> int:
    """All events that the product acknowledged, warming up included."""
    return sum(load.events for measured in loads.values() for load in measured["product"])


def contest_of_servers(
    batch: int, ports: Mapping[str, int], sizes: Sizes, sender: Sender
) -> dict[str, list[Load]]:
    """The loads of each, the first of which was for warming up."""
    loads: dict[str, list[Load]] = {name: [] for name in ports}
    for number in range(sizes.http_rounds + 1):
        seconds = sizes.http_seconds if number else min(_WARM_UP_SECONDS, sizes.http_seconds)
        for name in sorted(ports, reverse=number % 2 == 0):
            loads[name].append(put_load(ports[name], sender, batch=batch, seconds=seconds))
    return loads


def _row(batch: int, loads: Mapping[str, list[Load]]) -> list[str]:
    rates = {name: [load.events_a_second for load in turns[1:]] for name, turns in loads.items()}
    of_drf = median(a / b for a, b in zip(rates["product"], rates["drf"], strict=True))
    ours = median(rates["product"])
    wanted = BESIDE_DRF.get(batch)
    return [
        str(batch),
        f"{of_drf:.1f} x",
        wanted.verdict(of_drf) if wanted else "-",
        f"{ours:,.0f}",
        EVENTS_A_SECOND[batch].verdict(ours),
        _latencies(loads["product"]),
        f"{median(rates['drf']):,.0f}",
        _latencies(loads["drf"]),
    ]


def _latencies(loads: list[Load]) -> str:
    found = [latency * 1_000 for load in loads[1:] for latency in load.latencies]
    return f"{percentile(found, 0.5):.1f}/{percentile(found, 0.99):.1f}"


def _check(database: str, sender: Sender, acknowledged: int) -> str:
    with connections[database].cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {TABLE}")  # noqa: S608  (our own table's name)
        stored = cursor.fetchone()[0]
    assert stored == acknowledged, f"{acknowledged:,} events acknowledged, {stored:,} stored"
    cus_totals.check(database, sender.principal)
    return f"Checked afterwards: {stored:,} events acknowledged and stored; totals equal their SUM."
