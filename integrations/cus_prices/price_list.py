"""What the list says of a tenant's own price: answered by those who price calls.

Authority knows no prices but tenants' own; who prices calls registers here (`answer_by`).
"""

from typing import NamedTuple, Protocol

from integrations.cus_prices.models import CusPriceOverride


class SampleCall(NamedTuple):
    """What a sample call costs without and with a tenant's own price, in microcents.

    None where the call has no price. `tier` is the service tier; None is the plain one.
    """

    tier: str | None
    call: str
    before: int | None
    after: int | None


class PriceList(Protocol):
    """Says what calls cost by the list, and by a tenant's own price over it."""

    def knows(self, override: CusPriceOverride) -> bool:
        """Whether the list has a price of the override's model, from its moment on."""

    def sample_calls(self, override: CusPriceOverride) -> list[SampleCall]:
        """What sample calls cost before and after the override, for each tier that has a price."""


_answering: list[PriceList] = []


def answer_by(prices: PriceList) -> None:
    """Have questions about the list answered by these prices."""
    _answering[:] = [prices]


def price_list() -> PriceList:
    """Who answers for the list. One answers wherever the product runs."""
    return _answering[0]
