"""A budget holds for processes with leases, whatever happens to them (rulings F5a, F5c).

A small run of what `make trust-enforcement` does in full.
"""

from pathlib import Path

from tests.cus_prepared_database import PreparedDatabase
from tests.trust.cus_lease_contest import LeaseContest, describe
from tests.trust.cus_real_product import RealProduct

_LIFE_SECONDS = 5


def test_processes_with_leases_spend_the_last_of_a_budget_and_no_more(
    prepared: PreparedDatabase, tmp_path: Path
) -> None:
    environment = {"CUS_HOLD_LIFE_SECONDS": str(_LIFE_SECONDS)}
    with (
        RealProduct(prepared=prepared, web_servers=1, environment=environment) as product,
        LeaseContest(product, tmp_path, processes=10, threads=2, room_cents=60) as contest,
    ):
        tally = contest.run(seconds=5.0, lives=6 * _LIFE_SECONDS)
    assert tally.findings == [], describe(tally)
    assert tally.share > 0.99 - 1.2 / 60, describe(tally)
    assert tally.leased_calls > 0
