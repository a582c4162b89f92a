"""Ingest counts every event once, whatever is killed and however often it is sent.

Small runs of what `make trust-ingest` does in full, on a PostgreSQL that syncs and is killed.
"""

from collections.abc import Iterator

import pytest

from tests.cus_prepared_database import PreparedDatabase
from tests.trust.cus_deliveries import Events, Mishaps, Run
from tests.trust.cus_races import race_contradictions
from tests.trust.cus_real_product import RealProduct
from tests.trust.cus_settlement_run import FEW_KILLS, SettlementRun


@pytest.fixture(scope="module")
def product(prepared: PreparedDatabase) -> Iterator[RealProduct]:
    with RealProduct(prepared=prepared) as real:
        yield real


@pytest.fixture(scope="module")
def keys(product: RealProduct) -> list[str]:
    """Of two integrations of one tenant."""
    return product.make_keys(1, 2)[0]


def test_events_are_exact_through_replays_contradictions_aborts_and_kills(
    product: RealProduct, keys: list[str]
) -> None:
    mishaps = Mishaps(database_kills=(0.3,), worker_kills=(0.5,), server_kills=(0.7,), aborts=0.02)
    run = Run(product, Events(2_000, seed=1), keys, mishaps=mishaps, batch_sizes=(1, 5, 20, 100))

    result = run.execute(10_000, writers=4, altered=0.1)

    assert result.findings == []
    assert result.deliveries == 10_000
    assert result.rows == 2_000
    assert result.conflicts > 900
    assert result.seen["broken off"] > 0, "the kills came too late to matter"


def test_postgresql_killed_under_load_is_said_so_and_loses_and_doubles_nothing(
    product: RealProduct, keys: list[str]
) -> None:
    mishaps = Mishaps(database_kills=(0.4,), outage_until_told=True)
    run = Run(product, Events(2_000, seed=2), keys, mishaps=mishaps, batch_sizes=(1, 5, 20, 50))

    result = run.execute(4_000, writers=8, altered=0)

    assert result.findings == []
    assert result.rows == 2_000
    assert result.seen["503"] > 0, "no sender got 503"


@pytest.mark.parametrize(("races", "batch"), [(100, 1), (100, 10)])
def test_of_two_who_contradict_each_other_one_is_stored_and_one_is_told_each_time(
    product: RealProduct, keys: list[str], races: int, batch: int
) -> None:
    result = race_contradictions(product, keys[0], f"race{batch}", races=races, batch=batch)

    assert result.findings == []
    assert result.races == races


def test_usage_told_late_twice_first_by_others_and_next_month_counts_once_through_kills(
    product: RealProduct,
) -> None:
    ((key,),) = product.make_keys()
    result = SettlementRun(product, key, answers=60, seed=5, kills=FEW_KILLS).execute()

    assert result.findings == []
    assert result.seen["sender kills"] == 2
