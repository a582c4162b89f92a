"""What limits at scopes cost: a check with eight of them, and ingest of calls that they count."""

from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any

from psycopg import sql

from benchmarks.cus_databases import Sender, new_database, sender_of, superuser
from benchmarks.cus_enforcement import (
    calls_landing,
    load_of_checks,
    milliseconds,
    more_keys,
    settle,
)
from benchmarks.cus_http import contest_of_servers
from benchmarks.cus_report import Section
from benchmarks.cus_rounds import Contestant, contest, ratio
from benchmarks.cus_served import PRODUCT, served
from benchmarks.cus_sizes import BATCHES, Sizes
from benchmarks.cus_store_process import StoreProcess
from benchmarks.cus_targets import BESIDE_SCOPES, INGEST_WITH_MANY_SCOPES, INGEST_WITH_SCOPES

_TURNS = 6
# Integrations of one tenant that are checked side by side, by a caller each.
_INTEGRATIONS = 4
# As a program asks whose calls name all that a call can name.
_BODY = (
    '{"call_id":"',
    '","model":"gpt-4o","estimated_tokens":1800,"estimated_cost_cents":1,"agent_id":"agent-1",'
    '"session_id":"session-1","end_user":"ann","tags":["team=red"]}',
)
# Scope, tag, value, unit and window of the limits that count each call.
_LIMITS = (
    ("session_id", "", None, "cents", "life"),
    ("agent_id", "", None, "cents", "day"),
    ("agent_id", "", None, "tokens", "month"),
    ("end_user", "", None, "cents", "month"),
    ("tag", "team", None, "cents", "week"),
    ("model", "", None, "calls", "minute"),
    ("integration", "", "", "cents", "day"),
    ("integration", "", "", "calls", "week"),
)
# As many as an integration may have: four of each agent, and of sessions and teams that no call names.
_MANY = (
    *_LIMITS,
    *(
        ("agent_id", "", f"agent-{number}", unit, window)
        for number in range(1, 21)
        for unit, window in (
            ("cents", "day"),
            ("tokens", "day"),
            ("calls", "week"),
            ("cents", "month"),
        )
    ),
    *(("session_id", "", f"session-{number}", "cents", "life") for number in range(56)),
    *(("tag", "team", f"team-{number}", "cents", "month") for number in range(56)),
)
_MANY_AT_ONCE = 1_000
_MAKE = """
INSERT INTO cus_scoped_limits (id, tenant_id, integration_id, scope, tag, value, unit, "window",
    amount, basis, result, warning_percent, enabled, reason)
VALUES (gen_random_uuid(), %s, %s, %s, %s, %s, %s, %s, 4000000000000, 'rounded', 'blocked', 80,
    true, '')
"""
_FORGET = "UPDATE cus_scoped_limits SET deleted_at = now() WHERE deleted_at IS NULL"
_NEW_VERSION = "UPDATE cus_integrations SET config_version = config_version + 1"


def measure(sizes: Sizes, sender: Sender) -> Section:
    section = Section(
        "Ingest of calls that eight limits at scopes count, beside none (one connection)",
        ("batch", "with, rows/s", "without, rows/s", "of without", "target", "of no counting"),
    )
    names = ("bench_scoped", "bench_unscoped", "bench_uncounted")
    scoped, unscoped, uncounted = map(new_database, names)
    _make(scoped, sender, _LIMITS)
    with superuser(uncounted) as connection:
        for (name,) in connection.execute(_TRIGGERS).fetchall():
            drop = sql.SQL("DROP TRIGGER cus_then_count_limits ON {}")
            connection.execute(drop.format(sql.Identifier(name)))
    with (
        StoreProcess(scoped, sender) as one,
        StoreProcess(unscoped, sender) as two,
        StoreProcess(uncounted, sender) as three,
    ):
        for batch in BATCHES:
            section.rows.append(
                _row(batch, sizes, {"with": one, "without": two, "uncounted": three})
            )
    section.notes.append("Of no counting: without limits, beside a database without the trigger.")
    section.notes += _over_http(sizes, sender)
    section.notes.append(_many(sizes, sender, unscoped))
    section.notes.append(_checks(sizes, sender))
    section.notes.append(_side_by_side(sizes, sender))
    return section


def _over_http(sizes: Sizes, sender: Sender) -> Iterator[str]:
    """Events a second over HTTP with the limits, beside none, as `make bench` measures them."""
    scoped, unscoped = map(new_database, ("bench_scoped_http", "bench_unscoped_http"))
    _make(scoped, sender, _LIMITS)
    with served(PRODUCT, scoped) as one, served(PRODUCT, unscoped) as two:
        for batch in BATCHES:
            loads = contest_of_servers(batch, {"with": one, "without": two}, sizes, sender)
            rates = {
                name: [load.events_a_second for load in turns[1:]] for name, turns in loads.items()
            }
            share = ratio(rates["with"], rates["without"])
            yield (
                f"Over HTTP, batches of {batch}: {median(rates['with']):,.0f} events/s with "
                f"{len(_LIMITS)} limits, {median(rates['without']):,.0f} without: {share:.2f} x, "
                f"{INGEST_WITH_SCOPES.verdict(share)}"
            )


def _many(sizes: Sizes, sender: Sender, unscoped: str) -> str:
    """How much longer ingest of large batches takes with two hundred limits."""
    scoped = new_database("bench_many_scopes")
    _make(scoped, sender, _MANY)
    batches = max(sizes.turns[500] // 2, 1)
    with StoreProcess(scoped, sender) as one, StoreProcess(unscoped, sender) as two:
        seconds = contest(
            [
                Contestant(
                    name, partial(store.turn, "statement", batch=_MANY_AT_ONCE, batches=batches)
                )
                for name, store in (("with", one), ("without", two))
            ],
            sizes.rounds,
        )
    longer = ratio(seconds["with"], seconds["without"])
    each = 1_000 * median(seconds["with"]) / batches
    return (
        f"A batch of {_MANY_AT_ONCE:,} with {len(_MANY)} limits takes {each:,.0f} ms, {longer:.2f} x of without, "
        f"{INGEST_WITH_MANY_SCOPES.verdict(longer)}"
    )


_TRIGGERS = """
SELECT tgrelid::regclass::text FROM pg_trigger
WHERE tgname = 'cus_then_count_limits' AND tgparentid = 0
"""


def _row(batch: int, sizes: Sizes, stores: dict[str, StoreProcess]) -> list[str]:
    batches = sizes.turns[batch]
    seconds = contest(
        [
            Contestant(name, partial(store.turn, "statement", batch=batch, batches=batches))
            for name, store in stores.items()
        ],
        sizes.rounds,
    )
    share = ratio(seconds["without"], seconds["with"])
    return [
        str(batch),
        *(f"{batch * batches / median(seconds[name]):,.0f}" for name in ("with", "without")),
        f"{share:.2f} x",
        INGEST_WITH_SCOPES.verdict(share),
        f"{ratio(seconds['uncounted'], seconds['without']):.2f} x",
    ]


def _checks(sizes: Sizes, sender: Sender) -> str:
    """How long a check takes with eight limits that apply to its call, and with none."""
    database = new_database("bench_scoped_checks")
    with superuser(database) as connection:
        connection.execute("UPDATE cus_integrations SET budget_limit_cents = 2000000000")
    found: dict[int, list[float]] = {0: [], len(_LIMITS): []}
    with served(PRODUCT, database) as port, calls_landing(database):
        for turn in range(_TURNS + 1):
            for number, latencies in found.items():
                settle(database)
                _make(database, sender, _LIMITS[:number])
                load = load_of_checks(port, [sender.key], 1, sizes.check_seconds / 2, body=_BODY)
                # In the first turn the processes warm up.
                latencies += milliseconds(load) if turn else []
    without, beside = (median(latencies) for latencies in found.values())
    return (
        f"A check over HTTP, one caller, p50: {without:.2f} ms with no limit at a scope, "
        f"{beside:.2f} ms with {len(_LIMITS)}: {beside / without:.2f} x, "
        f"{BESIDE_SCOPES.verdict(beside / without)}"
    )


def _side_by_side(sizes: Sizes, sender: Sender) -> str:
    """How many checks a second integrations get with a limit of their tenant, and with one each."""
    senders = [sender, *map(sender_of, more_keys(sender, _INTEGRATIONS - 1))]
    keys, tenant = [one.key for one in senders], sender.principal.tenant_id
    a_day = ("", "", "cents", "day")
    made: dict[str, list[tuple[Any, ...]]] = {
        "tenant": [(tenant, None, "tenant", *a_day)],
        "integration": [
            (tenant, one.principal.integration_id, "integration", *a_day) for one in senders
        ],
    }
    database = new_database("bench_tenant_checks")
    rates: dict[str, list[float]] = {"tenant": [], "integration": []}
    with served(PRODUCT, database) as port, calls_landing(database):
        for turn in range(_TURNS + 1):
            for scope, limits in made.items():
                settle(database)
                _make_all(database, limits)
                seconds = sizes.check_seconds / 2
                load = load_of_checks(port, keys, _INTEGRATIONS, seconds, body=_BODY)
                # In the first turn the processes warm up.
                rates[scope] += [load.events_a_second] if turn else []
    shared, own = rates.values()
    return (
        f"{_INTEGRATIONS} integrations of a tenant, a caller each: {median(shared):,.0f} checks/s "
        f"with a limit of the tenant, {median(own):,.0f} with a limit of each: "
        f"{ratio(shared, own):.2f} x"
    )


def _make(database: str, sender: Sender, limits: Sequence[tuple[Any, ...]]) -> None:
    whose = (sender.principal.tenant_id, sender.principal.integration_id)
    _make_all(database, [(*whose, *limit) for limit in limits])


def _make_all(database: str, limits: Sequence[tuple[Any, ...]]) -> None:
    with superuser(database) as connection:
        connection.execute(_FORGET)
        for limit in limits:
            connection.execute(_MAKE, limit)
        connection.execute(_NEW_VERSION)
