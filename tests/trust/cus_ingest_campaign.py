"""`make trust-ingest`: the whole of the ingest campaigns, on servers of its own.

`python -m tests.trust.cus_ingest_campaign [--scale 0.1] [--only exactness …]` prints what was
done and found as a table. The exit code is 0 if nothing was found, 1 if something was.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice

from hypothesis import HealthCheck, given, settings
from rich.console import Console
from rich.table import Table

from tests.trust.cus_audit import findings
from tests.trust.cus_deliveries import Events, Mishaps, Result, Run
from tests.trust.cus_hostile import Hostility, Value
from tests.trust.cus_hostile_delivery import (
    HostileDelivery,
    deliver_body,
    gzip_bodies,
    hostile_bodies,
    stored_findings,
)
from tests.trust.cus_hostile_strategies import hostile_fields
from tests.trust.cus_races import race_contradictions, race_tenants
from tests.trust.cus_real_product import RealProduct
from tests.trust.cus_settlement_run import SettlementRun

_PAIRS = 4


@dataclass
class Report:
    """What a campaign did, in words, and what it found, a sentence each."""

    did: str
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Context:
    """What every campaign is given: the product, how much of the full size, how long."""

    product: RealProduct
    scale: float
    seconds: float
    seed: int
    say: Callable[[str], None]

    def of(self, full: int, least: int = 1) -> int:
        """A number of the full size, at this scale."""
        return max(least, int(full * self.scale))


def exactness(context: Context) -> Report:
    """16 writers, a million deliveries of 200,000 events, a tenth altered, kills in between."""
    mishaps = Mishaps(
        database_kills=(0.1, 0.25, 0.4, 0.55, 0.7, 0.85),
        worker_kills=(0.05, 0.2, 0.35, 0.5, 0.65, 0.8),
        server_kills=(0.15, 0.45, 0.75),
        outage_seconds=0.3,
        aborts=0.02,
    )
    events = Events(context.of(200_000, 1_000), seed=context.seed)
    result = _run(context, events, mishaps).execute(events.count * 5, writers=16, altered=0.1)
    if not result.seen["broken off"]:
        result.find("no kill broke anything off: they came too late to matter")
    return _report(result)


def outages(context: Context) -> Report:
    """PostgreSQL killed under load, and away until a sender gets 503, each time."""
    mishaps = Mishaps(database_kills=(0.1, 0.3, 0.5, 0.7, 0.9), outage_until_told=True)
    events = Events(context.of(50_000, 1_000), seed=context.seed + 1)
    result = _run(context, events, mishaps).execute(events.count * 2, writers=16, altered=0)
    if not result.seen["503"]:
        result.find("no sender got 503")
    return _report(result)


def races(context: Context) -> Report:
    """Fifty tenants with one call id; two writers who contradict each other, 10,000 times."""
    product = context.product
    tenants = [keys[0] for keys in product.make_keys(50, 1)]
    done = [race_tenants(product, tenants, f"everybody's-{number}") for number in range(10)]
    singles, batched = context.of(5_000, 40), context.of(5_000, 40)

    def race(pair: int) -> None:
        name, key = f"race{pair}", tenants[pair]
        done.append(
            race_contradictions(product, key, name, races=singles // _PAIRS, say=progress(pair))
        )
        done.append(
            race_contradictions(product, key, f"{name}b", races=batched // _PAIRS, batch=10)
        )

    def progress(pair: int) -> Callable[[int], None]:
        if pair:
            return lambda _done: None
        return lambda raced: context.say(f"{raced * _PAIRS:,} races") if raced % 50 == 0 else None

    with ThreadPoolExecutor(_PAIRS) as pool:
        list(pool.map(race, range(_PAIRS)))
    contradictions = sum(result.races for result in done[10:])
    return Report(
        f"10 × 50 tenants with one call id, {contradictions:,} contradictions",
        [finding for result in done for finding in result.findings] + _audit(product),
    )


def settlements(context: Context) -> Report:
    """Usage told late, twice, by other processes, before its call, next month; kills in between."""
    seen: Counter[str] = Counter()
    found: list[str] = []
    for turn, (key,) in enumerate(context.product.make_keys(context.of(10))):
        run = SettlementRun(
            context.product,
            key,
            answers=context.of(2_000, 200),
            seed=context.seed + turn,
            say=context.say,
        )
        result = run.execute()
        seen.update(result.seen)
        found += result.findings
    did = ", ".join(f"{count:,} {what}" for what, count in seen.items())
    return Report(did, found)


def hostility(context: Context) -> Report:
    """100,000 hostile records: every field with every value, mixtures, Hypothesis' own."""
    key = context.product.make_keys()[0][0]
    door = context.product.door(0, key)
    delivery = HostileDelivery(door, key)
    now = datetime.now(UTC).isoformat()
    records = Hostility(context.seed, now)
    total = context.of(100_000, 3_500)
    _by_hypothesis(delivery, Hostility(context.seed + 1, now), total // 5)
    rest = islice(
        chain(records.table(), records.mixtures()), total - delivery.result.statuses.total()
    )
    while part := list(islice(rest, 4_000)):
        delivery.deliver(part)
        context.say(f"{delivery.result.statuses.total():,} records")
    door.close()
    status_counts = ", ".join(
        f"{count:,} {status}" for status, count in delivery.result.statuses.items()
    )
    with context.product.connect() as connection:
        found = [*delivery.result.findings, *stored_findings(connection, delivery)[:10]]
    return Report(
        f"{delivery.result.statuses.total():,} records: {status_counts}",
        found + _audit(context.product),
    )


def bodies(context: Context) -> Report:
    """Requests that are hostile as a whole, compressed ones among them."""
    door = context.product.door(0, context.product.make_keys()[0][0])
    sent = [*hostile_bodies("campaign"), *gzip_bodies("campaign")]
    wrong = [deliver_body(door, body) for body in sent]
    return Report(f"{len(sent)} requests", [finding for finding in wrong if finding])


_CAMPAIGNS = {
    "exactness": exactness,
    "outages": outages,
    "races": races,
    "settlements": settlements,
    "hostility": hostility,
    "bodies": bodies,
}


def _run(context: Context, events: Events, mishaps: Mishaps) -> Run:
    return Run(
        context.product,
        events,
        context.product.make_keys(1, 2)[0],
        mishaps=mishaps,
        batch_sizes=(1, 10, 100, 500, 500) if context.scale >= 0.1 else (1, 5, 20, 100),
        seconds=context.seconds,
        say=context.say,
    )


def _report(result: Result) -> Report:
    return Report(str(result), result.findings)


def _audit(product: RealProduct) -> list[str]:
    with product.connect() as connection:
        return findings(connection)


def _by_hypothesis(delivery: HostileDelivery, records: Hostility, count: int) -> None:
    """At least so many records. What it found stays found, whatever it tries afterwards."""

    @settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=max(1, count // 6),
        suppress_health_check=list(HealthCheck),
    )
    @given(hostile=hostile_fields)
    def deliver(hostile: list[list[tuple[str, Value]]]) -> None:
        delivery.deliver_batch([records.with_fields(fields) for fields in hostile])

    deliver()


def main(
    arguments: list[str],
    campaigns: Mapping[str, Callable[[Context], Report]] = _CAMPAIGNS,
    name: str = "trust-ingest",
) -> int:
    """Run the chosen campaigns on a product of their own, and say what was found."""
    parser = argparse.ArgumentParser(prog=f"make {name}")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full size")
    parser.add_argument("--seconds", type=float, default=1800.0, help="at most, for each delivery")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=[*campaigns], default=[*campaigns])
    options = parser.parse_args(arguments)
    console = Console()
    reports: dict[str, tuple[Report, float]] = {}
    with RealProduct() as product:
        for chosen in options.only:
            started = time.monotonic()
            context = Context(
                product, options.scale, options.seconds, options.seed, _sayer(console, chosen)
            )
            reports[chosen] = campaigns[chosen](context), time.monotonic() - started
    console.print(_table(reports, name))
    found = [finding for report, _ in reports.values() for finding in report.findings]
    for finding in found:
        console.print(f"FOUND: {finding}", markup=False, highlight=False)
    return 1 if found else 0


def _sayer(console: Console, name: str) -> Callable[[str], None]:
    last = [0.0]

    def say(text: str) -> None:
        # Once every five seconds will do.
        if time.monotonic() - last[0] > 5:
            last[0] = time.monotonic()
            console.print(f"{name}: {text}", markup=False, highlight=False)

    return say


def _table(reports: dict[str, tuple[Report, float]], title: str) -> Table:
    table = Table("campaign", "seconds", "what was done", "found", title=title)
    for name, (report, seconds) in reports.items():
        table.add_row(name, f"{seconds:.0f}", report.did, str(len(report.findings) or "nothing"))
    return table


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
