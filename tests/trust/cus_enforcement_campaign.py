"""`make trust-enforcement`: the whole of the enforcement campaigns, on servers of its own.

`python -m tests.trust.cus_enforcement_campaign [--scale 0.1] [--only races …]`. The exit code
is 0 if nothing was found, 1 if something was.
"""

import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from enforcement.cus_reading.absence import SILENT_SECONDS
from telemetry.cus_ids import lock_key
from tests.trust.cus_check_races import CheckRaces, ask, integration_of
from tests.trust.cus_ingest_campaign import Context, Report, main
from tests.trust.cus_lease_contest import ContestTally, LeaseContest, describe
from tests.trust.cus_real_product import RealProduct

_IN_TIME = 0.45
# A request and its answer on a machine where all is at work at once; said in the report.
_MACHINE_SECONDS = 0.15
_TABLES = (
    "cus_period_totals",
    "cus_enforcement_holds",
    "cus_enforcement_leases",
    "cus_integrations",
)
# All that was let in with evidence, by what it holds and by what was counted in the same commits.
_HELD_AND_COUNTED = """
SELECT (SELECT coalesce(sum(cents), 0) FROM cus_enforcement_holds
        WHERE integration_id = %(integration)s),
    (SELECT coalesce(sum(allowed + warned - degraded), 0) FROM cus_decision_totals
        WHERE integration_id = %(integration)s)
"""


def races(context: Context) -> Report:
    """1,000 races of 100 callers in five processes for room of 10; one process is killed in each."""
    key = context.product.make_keys()[0][0]
    number = context.of(1_000, 5)
    contest = CheckRaces(context.product, key, "race", callers=100, processes=5)
    tally = contest.run(number, lambda done: context.say(f"{done:,} races"))
    answer_counts = ", ".join(
        f"{count:,} {answer}" for answer, count in tally.answers.most_common()
    )
    return Report(
        f"{tally.races:,} races of 100 for 10: {answer_counts}; {tally.killed:,} processes killed,"
        f" {tally.orphaned:,} calls of theirs let in and never reported",
        tally.findings,
    )


def leases(context: Context) -> Report:
    """100 processes with leases for the last percent of a budget: killed, stopped, cut off."""
    life = 5
    settings = {"CUS_HOLD_LIFE_SECONDS": str(life)}
    processes = context.of(100, 10)
    with (
        TemporaryDirectory() as folder,
        RealProduct(environment=settings) as product,
        LeaseContest(
            product, Path(folder), processes=processes, threads=2, room_cents=processes * 20
        ) as contest,
    ):
        tally = contest.run(seconds=60.0, lives=20 * life)
    found = [*tally.findings, *_too_little(tally)]
    if not tally.late_calls:
        found.append("no call began under a lease after its end")
    return Report(f"{processes} processes, holds of {life} s: {describe(tally)}", found)


def lives(context: Context) -> Report:
    """The same with the lives of a product as it ships, whose clock moves on once all are dead."""
    processes = context.of(20, 5)
    with (
        TemporaryDirectory() as folder,
        RealProduct() as product,
        LeaseContest(
            product, Path(folder), processes=processes, threads=2, room_cents=processes * 20
        ) as contest,
    ):
        # As in `telemetry.cus_holds`: a lease's own life, and the life of a hold.
        tally = contest.run(seconds=10.0, lives=60.0, passed=timedelta(seconds=5 + 900))
    found = [*tally.findings, *_too_little(tally)]
    return Report(f"{processes} processes, holds of 15 minutes: {describe(tally)}", found)


def _too_little(tally: ContestTally) -> list[str]:
    # The last call that has no room is smaller than the dearest call.
    return [] if tally.share >= 0.99 else [f"only {tally.share:.1%} of the room was spent"]


def outages(context: Context) -> Report:
    """Each way in which PostgreSQL can be away: what is told, and after how long."""
    product = context.product
    key = product.make_keys()[0][0]
    found: list[str] = []
    slowest: Counter[str] = Counter()
    door = product.door(0, key)
    rounds = context.of(50, 2)
    for turn in range(rounds):
        for name, expected, trouble in _troubles(product, key):
            if (before := ask(door, f"{name}-{turn}-before")[0]) != "allowed":
                found.append(f"before {name}: {before}")
            with trouble:
                if name == "hung":
                    # Silence is absence only once nothing got an answer for so long (F6a).
                    time.sleep(SILENT_SECONDS)
                for number in range(3):
                    answer, seconds = ask(door, f"{name}-{turn}-{number}")
                    slowest[name] = max(slowest[name], int(seconds * 1_000))
                    if answer != expected:
                        found.append(f"{name}: told {answer}, not {expected}")
                    if seconds > _IN_TIME + _MACHINE_SECONDS:
                        found.append(f"{name}: answered after {seconds:.3f} s")
        context.say(f"{turn + 1} of {rounds} rounds")
    door.close()
    times = ", ".join(f"{name} {most} ms" for name, most in slowest.items())
    return Report(f"{rounds} rounds; slowest answers: {times}", found)


def restarts(context: Context) -> Report:
    """PostgreSQL killed and restarted under load: all answered, and the cap holds."""
    product = context.product
    key = product.make_keys()[0][0]
    limit = 500
    with product.connect() as connection:
        connection.execute(
            "UPDATE cus_integrations SET budget_limit_cents = %s WHERE id = %s",
            [limit, integration_of(key)],
        )
    answers: list[str] = []
    over = threading.Event()

    def load(number: int) -> None:
        door, count = product.door(number, key), 0
        while not over.is_set():
            answers.append(ask(door, f"load-{number}-{count}")[0])
            count += 1
        door.close()

    callers = [threading.Thread(target=load, args=(number,)) for number in range(8)]
    for caller in callers:
        caller.start()
    kills = context.of(20, 2)
    for kill in range(kills):
        time.sleep(0.5)
        product.kill_database()
        product.start_database()
        context.say(f"{kill + 1} kills")
    over.set()
    for caller in callers:
        caller.join()
    answer_counts = Counter(answers)
    with product.connect() as connection:
        row = connection.execute(_HELD_AND_COUNTED, {"integration": integration_of(key)}).fetchone()
    assert row
    held, counted = map(int, row)
    yes = answer_counts["allowed"] + answer_counts["warned"]
    found = [] if yes <= held <= limit else [f"{yes} were told yes, {held} are held, limit {limit}"]
    # More were counted than are held where a commit went through whose answer did not.
    found += [] if counted >= held else [f"{held} were let in, {counted} are counted"]
    known = {"allowed", "warned", "blocked", "degraded", "contention", "state_unknown"}
    found += [f"told {answer}" for answer in set(answer_counts) - known]
    return Report(f"{kills} kills, {len(answers):,} checks: {dict(answer_counts)}", found)


def _troubles(
    product: RealProduct, key: str
) -> Iterator[tuple[str, str, AbstractContextManager[None]]]:
    for table in _TABLES:
        statement = f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"
        yield f"locked {table}".replace(" ", "-"), "degraded", _open(product, statement)
    number = lock_key(uuid.UUID(integration_of(key)))
    yield "stuck", "contention", _open(product, f"SELECT pg_advisory_xact_lock({number})")
    yield "hung", "degraded", product.stopped_database()
    yield "full", "contention", product.without_connections()
    yield "killed", "degraded", _away(product)


@contextmanager
def _open(product: RealProduct, statement: str) -> Iterator[None]:
    """A transaction that has done this and goes on."""
    with product.connect() as connection, connection.transaction():
        connection.execute(statement.encode())
        yield


@contextmanager
def _away(product: RealProduct) -> Iterator[None]:
    product.kill_database()
    try:
        yield
    finally:
        product.start_database()


if __name__ == "__main__":
    campaigns = {
        "races": races,
        "leases": leases,
        "lives": lives,
        "outages": outages,
        "restarts": restarts,
    }
    raise SystemExit(main(sys.argv[1:], campaigns, "trust-enforcement"))
