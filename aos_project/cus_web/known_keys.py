"""Which SDK keys are programs', as this process has seen, and which addresses invent keys."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from aos_project.cus_web.known_secrets import Remembered
from integrations.cus_web.verdicts import Secret

# An office, or a cloud's gateway, may have programs with some old keys behind one address.
_MOST_WRONG = 20
_FADING_SECONDS = 10.0
_MOST_ADDRESSES = 10_000


class KnownKeys:
    """Digests of the SDK keys that Django has accepted and refused, and addresses' wrong keys.

    A key that was refused is a stranger's until it is accepted, and one that was accepted is a
    program's until it is refused. Any other key is a program's, unless its address has just shown
    too many different keys that are wrong. So a restart, when no key is known, and a revoked key
    that many programs of an address still use, delay no valid key.

    Threads may call all methods; times are of the monotonic clock.
    """

    def __init__(self) -> None:
        self._accepted = Remembered()
        self._refused = Remembered()
        self._wrong = WrongKeys()

    def is_accepted(self, key: str, now: float) -> bool:
        """Whether Django has accepted the key within an hour, and not refused it since."""
        return self._accepted.holds(key, now)

    def is_strangers(self, key: str, address: str, now: float) -> bool:
        """Whether a stranger may have sent the request."""
        if self._accepted.holds(key, now):
            return False
        return self._refused.holds(key, now) or self._wrong.are_many(address, now)

    def learn(self, key: str, address: str, environ: Mapping[str, Any], now: float) -> None:
        """Remember what Django has noted of the key in the request's environment.

        It notes nothing if it did not get as far as the key, such as for a wrong `Host`: that is
        wrong of the address, and the key may still be valid. It notes None if the database can't
        say: that is no fault of anybody's.
        """
        accepted = environ.get(Secret.KEY, _NOT_LOOKED_AT)
        if accepted is True:
            self._accepted.add(key, now)
            self._refused.drop(key)
        elif accepted is False:
            self._accepted.drop(key)
            if self._refused.add(key, now):
                self._wrong.count(address, now)
        elif accepted is _NOT_LOOKED_AT and not self._accepted.holds(key, now):
            self._wrong.count(address, now)


_NOT_LOOKED_AT = object()


class _Count(NamedTuple):
    number: float
    counted_at: float


class WrongKeys:
    """How many wrong keys each address has shown lately: a count that fades, 20 in ten seconds.

    It grows to twice as much at most, so an address is free again ten seconds after its last wrong
    key. Above `most` addresses, the one that was not counted for longest goes.
    """

    def __init__(self, most: int = _MOST_ADDRESSES) -> None:
        self._most = most
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._lock = threading.Lock()

    def are_many(self, address: str, now: float) -> bool:
        """Whether the address has shown more wrong keys than programs' mistakes explain."""
        return self._number(address, now) > _MOST_WRONG

    def count(self, address: str, now: float) -> None:
        """Count another wrong key of the address."""
        with self._lock:
            number = min(self._number(address, now) + 1, 2 * _MOST_WRONG)
            self._counts[address] = _Count(number, now)
            self._counts.move_to_end(address)
            if len(self._counts) > self._most:
                self._counts.popitem(last=False)

    def _number(self, address: str, now: float) -> float:
        count = self._counts.get(address)
        if count is None:
            return 0.0
        faded = (now - count.counted_at) * _MOST_WRONG / _FADING_SECONDS
        return max(count.number - faded, 0.0)
