"""What `make trust-abuse` does in full: the product holds when its users' enemies are at it.

Nothing here judges times: under floods, all other callers get answers, with evidence.
"""

from collections.abc import Iterator

import pytest

from tests.cus_prepared_database import PreparedDatabase
from tests.trust.cus_abuse.outcome import Size
from tests.trust.cus_abuse.product import AttackedProduct
from tests.trust.cus_abuse_campaign import ATTACKS

SMALL = Size(scale=0.02, in_full=False)
RACES = 15
# Mails are asked for 21 times here, too; a flood of them is about times, which no test judges.
ONLY_IN_FULL = {"flood of reset mails"}


@pytest.fixture(scope="module")
def product(prepared: PreparedDatabase) -> Iterator[AttackedProduct]:
    with AttackedProduct(prepared) as attacked:
        yield attacked


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in ONLY_IN_FULL])
def test_the_product_holds_under(product: AttackedProduct, name: str) -> None:
    named = ATTACKS[name]
    size = Size(scale=RACES / 1_000) if named.group == "races" else SMALL

    outcome = named.attack(product, size)

    assert outcome.findings == [], outcome.figures
