"""A tenant's own prices: which of them fit a call, and in which order (ruling M5c).

What such a price makes of the list's is in `price_changes`. Nothing here reads the list.
"""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.db.models import QuerySet

from aos_sdk.cus_cost import canonical_name
from integrations.cus_prices.models import CusPriceOverride

if TYPE_CHECKING:
    from telemetry.cus_money.pricing import BilledCall

T = TypeVar("T")

# A tenant's new price is used this much later at the latest.
_SECONDS = 2.0


class OwnPrice(NamedTuple):
    """A stored price of a tenant, in the order of the columns that are read.

    `prices` says what it changes of the list, or all there is if `replaces_list`. At most one of
    `integration_id`, `provider` and `host` limits it; none is a price for the whole tenant.
    """

    id: uuid.UUID
    model: str
    prices: dict[str, Any]
    valid_from: datetime
    integration_id: uuid.UUID | None = None
    provider: str | None = None
    host: str | None = None
    replaces_list: bool = True

    @property
    def rank(self) -> int:
        """Where it stands among prices of one name: the lower, the sooner it is taken."""
        scopes = (self.integration_id, self.host, self.provider)
        return next((rank for rank, scope in enumerate(scopes) if scope is not None), len(scopes))

    @property
    def is_certain(self) -> bool:
        """Whether it fits all calls of its name in its integration, wherever they go."""
        return self.host is None and self.provider is None


COLUMNS = OwnPrice._fields


class OwnPrices:
    """The prices of a tenant that may bill calls of one of its integrations."""

    def __init__(self, prices: Iterable[OwnPrice], integration_id: uuid.UUID | None) -> None:
        """`prices` come with the latest first. Without an integration, none that is limited to
        one fits.
        """
        self._by_name: dict[str, list[OwnPrice]] = defaultdict(list)
        for price in prices:
            if price.integration_id in (None, integration_id):
                self._by_name[price.model].append(price)
        for named in self._by_name.values():
            named.sort(key=lambda price: price.rank)  # stable: within a rank, the latest first

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def fitting(self, call: "BilledCall", provider: str, at: datetime) -> Iterator[OwnPrice]:
        """Those that fit a call that started then, the one to be taken first.

        By name (as asked, as answered, canonical), scope (integration, host, provider, tenant),
        and moment. `provider` is the one that answered.
        """
        for name in _names(call.model_requested, call.model):
            for price in self._named(name, at):
                if price.host in (None, call.host) and price.provider in (None, provider):
                    yield price

    def possible(
        self, model: str, at: datetime, priced: Callable[[OwnPrice], T | None]
    ) -> tuple[list[T], bool]:
        """The own prices that may apply to a call for a model, before the model that answers is known.

        Its host, its provider and the dated name of its answer are not known yet. A price that
        fits wherever the call goes ends the search, as it does for the call's record. Gives what
        `priced` makes of them, and whether one of them will hold in place of the list's price.
        """
        asked, certain = self._possible([model], at, priced)
        canonical = canonical_name(model)
        if certain or canonical is None:
            return asked, certain
        dated = (name for name in self._by_name if canonical_name(name) == canonical != name)
        answered, _ = self._possible(dated, at, priced)
        as_listed, certain = self._possible([canonical], at, priced)
        return [*asked, *answered, *as_listed], certain

    def _possible(
        self, names: Iterable[str], at: datetime, priced: Callable[[OwnPrice], T | None]
    ) -> tuple[list[T], bool]:
        found: list[T] = []
        certain = False
        for name in names:
            for own in self._named(name, at):
                price = priced(own)
                if price is None:
                    continue
                found.append(price)
                if own.is_certain:
                    certain = True
                    break
        return found, certain

    def _named(self, name: str, at: datetime) -> Iterator[OwnPrice]:
        """The prices of a name that hold at a moment, one of each scope."""
        seen = set()
        for price in self._by_name.get(name, ()):
            scope = (price.integration_id, price.host, price.provider)
            if price.valid_from <= at and scope not in seen:
                seen.add(scope)
                yield price


def _names(asked: str | None, answered: str) -> Iterable[str]:
    """The names under which a call may have a price, the first to be looked at first."""
    names = (asked, answered, canonical_name(answered))
    return dict.fromkeys(name for name in names if name)


def prices_in(stored: QuerySet[CusPriceOverride]) -> list[OwnPrice]:
    """The stored prices, the latest moment first, then the one made last."""
    rows = stored.order_by("-valid_from", "-created_at").values_list(*COLUMNS)
    return [OwnPrice._make(row) for row in rows]


def own_price_of(override: CusPriceOverride) -> OwnPrice:
    """A price that may not be stored yet."""
    return OwnPrice._make(getattr(override, column) for column in COLUMNS)


_known: dict[uuid.UUID, tuple[float, list[OwnPrice]]] = {}


def stored_prices(tenant_id: uuid.UUID) -> list[OwnPrice]:
    """A tenant's own prices, the latest first, read anew every other second."""
    read_at, known = _known.get(tenant_id, (0.0, []))
    if time.monotonic() - read_at < _SECONDS:
        return known
    known = prices_in(CusPriceOverride.objects.filter(tenant_id=tenant_id))
    _known[tenant_id] = time.monotonic(), known
    return known


def forget_overrides() -> None:
    """Read the tenants' own prices anew at the next call."""
    _known.clear()
