"""Checks a second, and their latency: one integration and a hundred, 1, 8 and 64 callers."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any

from aos_project.cus_first_start import demo_integration
from aos_sdk.cus_wire import ENFORCEMENT_CHECK_PATH
from benchmarks.cus_databases import Sender, sender_of, superuser
from benchmarks.cus_fill import fill_this_month
from benchmarks.cus_loading import Load, put_orders, request_head
from benchmarks.cus_pace import parts_of_a_check
from benchmarks.cus_report import Section
from benchmarks.cus_rounds import percentile
from benchmarks.cus_served import PRODUCT, served
from benchmarks.cus_sizes import Sizes
from benchmarks.cus_targets import (
    BESIDE_RUNNING_CALLS,
    CHECK_P50,
    CHECK_P99,
    CHECKS_A_SECOND,
)
from integrations.cus_accounts.models import CusTenant
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.limits import LIMITS
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.holds import HOLD_LIFE

CALLERS = (1, 8, 64)
_INTEGRATIONS = 100
_HALF_LOAD_CALLERS = 8
_WARM_UP_SECONDS = 1.0
# As the SDK asks: with an estimate of its own.
_BODY = ('{"call_id":"', '","model":"gpt-4o","estimated_tokens":1800,"estimated_cost_cents":1}')
# All limits are set and none is reached, so a plain check reads everything and takes a hold.
_LIMITS = {limit.column: limit.most for limit in LIMITS}
# Calls last about a second, so an integration has as many running as it has checks in that time.
_LAND_EVERY_SECONDS = 0.25
# The guards refuse to remove a living hold, so this lets the holds expire first.
_AGE = """
UPDATE cus_enforcement_holds SET expires_at = now() WHERE expires_at < now() + %s - interval '1 second'
"""
_LAND = "DELETE FROM cus_enforcement_holds WHERE expires_at <= now()"


def measure(sizes: Sizes, sender: Sender) -> Section:
    section = Section(
        "Plain checks over HTTP: hold taken, durable (granian, 2 x 4 threads)",
        ("integrations", "callers", "checks/s", "target", "p50 ms", "target", "p99 ms", "target"),
    )
    keys = [sender.key, *more_keys(sender, _INTEGRATIONS - 1)]
    CusIntegration.objects.update(**_LIMITS)
    many = replace(sizes, filled_rows=sizes.checked_rows, twelfths=(12,))
    filled = fill_this_month("bench_checks", many, sender)
    section.notes.append(
        f"{sizes.checked_rows:,} rows of evidence this month, all of one integration."
    )
    section.notes.append("Calls land, and end their holds, a second after they were let in.")
    with served(PRODUCT, filled.database) as port, calls_landing(filled.database):
        for which in (keys[:1], keys):
            every = _measure_loads(section, port, which, sizes, filled.database)
    section.notes += parts_of_a_check(filled.database, every=every, seconds=sizes.check_seconds / 4)
    section.notes.append(beside_running_calls(filled.database, keys[0], sizes))
    return section


# What ruling F5b asks about, and how often the two are measured in turn.
_RUNNING_CALLS = 10_000
_TURNS = 3
_START_CALLS = """
INSERT INTO cus_enforcement_holds (tenant_id, integration_id, call_id, cents, microcents, tokens,
    taken_at, expires_at)
SELECT tenant_id, id, 'running-' || number, 1, 1000000, 1800, now() - interval '5 minutes',
    now() + interval '1 hour'
FROM cus_integrations, generate_series(1, %s) AS number WHERE id = %s
"""


def beside_running_calls(database: str, key: str, sizes: Sizes) -> str:
    """How long a check takes beside 10,000 live holds of its integration, and beside none."""
    integration = str(sender_of(key).principal.integration_id)
    found: dict[int, list[float]] = {0: [], _RUNNING_CALLS: []}
    with served(PRODUCT, database) as port, calls_landing(database):
        for turn in range(_TURNS + 1):
            for calls, latencies in found.items():
                settle(database)
                with superuser(database) as connection:
                    # More than may run by default, or checks would be turned away, not decided.
                    connection.execute("UPDATE cus_integrations SET max_live_holds = 100000")
                    connection.execute(_START_CALLS, [calls, integration])
                    connection.execute("ANALYZE cus_enforcement_holds")
                load = load_of_checks(port, [key], 1, sizes.check_seconds / _TURNS)
                # In the first turn the processes warm up.
                latencies += milliseconds(load) if turn else []
    without, beside = (median(found[calls]) for calls in found)
    verdict = BESIDE_RUNNING_CALLS.verdict(beside / without)
    return (
        f"One caller, p50: {without:.2f} ms beside no live hold, {beside:.2f} ms beside "
        f"{_RUNNING_CALLS:,}: {beside / without:.2f} x, {verdict}"
    )


def _measure_loads(
    section: Section, port: int, keys: Sequence[str], sizes: Sizes, database: str
) -> float:
    """Add the rows of each load; how often, in seconds, a caller asked at half load."""
    load_of_checks(port, keys, 8, min(_WARM_UP_SECONDS, sizes.check_seconds))
    most = 0.0
    for callers in CALLERS:
        settle(database)
        load = load_of_checks(port, keys, callers, sizes.check_seconds)
        if callers == _HALF_LOAD_CALLERS:
            most = load.events_a_second
        wanted = callers == _HALF_LOAD_CALLERS and len(keys) > 1
        row = _row(keys, str(callers), load)
        row[3] = CHECKS_A_SECOND.verdict(load.events_a_second) if wanted else "-"
        section.rows.append(row)
    settle(database)
    every = 2 * _HALF_LOAD_CALLERS / most
    half = load_of_checks(port, keys, _HALF_LOAD_CALLERS, sizes.check_seconds, every=every)
    row = _row(keys, f"{_HALF_LOAD_CALLERS}, half load", half)
    p50, p99 = (percentile(milliseconds(half), share) for share in (0.5, 0.99))
    row[5], row[7] = CHECK_P50.verdict(p50), CHECK_P99.verdict(p99)
    section.rows.append(row)
    return every


def _row(keys: Sequence[str], callers: str, load: Load) -> list[str]:
    found = milliseconds(load)
    p50, p99 = median(found), percentile(found, 0.99)
    rate = f"{load.events_a_second:,.0f}"
    return [str(len(keys)), callers, rate, "-", f"{p50:.2f}", "-", f"{p99:.1f}", "-"]


def milliseconds(load: Load) -> list[float]:
    """The latencies of a load."""
    return [latency * 1_000 for latency in load.latencies]


def load_of_checks(
    port: int,
    keys: Sequence[str],
    callers: int,
    seconds: float,
    *,
    every: float = 0.0,
    body: tuple[str, str] = _BODY,
) -> Load:
    """What so many callers get who ask in turn, or at a pace."""
    orders: dict[str, Any] = {
        "port": port,
        "heads": [request_head(port, ENFORCEMENT_CHECK_PATH, key) for key in keys],
        "templates": [body],
        "batch": 1,
        "wrapped": False,
        "seconds": seconds,
        "every": every,
        "most": 10**9,
    }
    # Each caller begins at another integration, so that they do not all ask for the same one.
    shift = max(len(keys) // callers, 1)
    return put_orders([orders | {"first_head": number * shift} for number in range(callers)])


@contextmanager
def calls_landing(database: str) -> Iterator[None]:
    """End holds as landing calls do; storing those calls is another measurement."""
    over = threading.Event()

    def land() -> None:
        with superuser(database) as connection:
            while not over.wait(_LAND_EVERY_SECONDS):
                connection.execute("SET session_replication_role = replica")
                connection.execute(_AGE, [HOLD_LIFE])
                connection.execute("SET session_replication_role = origin")
                connection.execute(_LAND)

    landing = threading.Thread(target=land)
    landing.start()
    try:
        yield
    finally:
        over.set()
        landing.join()


def settle(database: str) -> None:
    """End the holds of the last load as if its calls had landed, and vacuum the tables."""
    with superuser(database) as connection:
        connection.execute("TRUNCATE cus_enforcement_holds, cus_hold_sums, cus_limit_holds")
        connection.execute("VACUUM (ANALYZE) cus_decision_totals")


def more_keys(sender: Sender, count: int) -> list[str]:
    """Keys of so many more integrations of the sender's tenant."""
    tenant = CusTenant.objects.get(id=sender.principal.tenant_id)
    keys = []
    for number in range(1, count + 1):
        # Each is made under the same name, which it gives up to the next.
        CusIntegration.objects.filter(tenant=tenant, name="OpenAI").update(name=f"Checked {number}")
        integration = demo_integration(tenant)
        keys.append(issue_sdk_key(integration)[1])
        sender_of(keys[-1])
    return keys
