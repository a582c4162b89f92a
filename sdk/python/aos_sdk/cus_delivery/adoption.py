"""Adopt the rings of dead processes one after the other, and send the records that they left."""

import time
from collections.abc import Iterator
from typing import Final

from aos_sdk.cus_delivery.delivery import CusDelivery, CusTally
from aos_sdk.cus_delivery.ring_buffer import CusAdoptedRing
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_delivery.waits import CusWaits
from aos_sdk.cus_wire import MAX_BATCH_RECORDS

ADOPT_SECONDS: Final = 30.0


class CusAdoption:
    """Rounds through a spool. The sender's thread adopts and sends; other threads ask how far it is."""

    def __init__(
        self, spool: CusSpool | None, delivery: CusDelivery, waits: CusWaits, tally: CusTally
    ) -> None:
        self._spool = spool
        self._delivery = delivery
        self._waits = waits
        self._tally = tally
        self._adopted: list[CusAdoptedRing] = []
        # The rings of this round that are still to be adopted, and the time of the next round; 0:
        # no round yet.
        self._round: Iterator[CusAdoptedRing] | None = None
        self._adopt_at = 0.0

    @property
    def queued(self) -> int:
        """The number of adopted records that wait."""
        return sum(len(ring) for ring in list(self._adopted))

    @property
    def rings(self) -> list[CusAdoptedRing]:
        """The rings that this process holds, of which some have only drops to announce."""
        return [*self._adopted, *self._delivery.orphans]

    def goes_on(self) -> bool:
        """Whether a round is still to begin or to end, and the server takes records."""
        if self._spool is None or self._delivery.is_failing:
            return False
        return self._adopt_at == 0.0 or self._round is not None or self._has_work()

    def _has_work(self) -> bool:
        return any(len(ring) > self._delivery.waits_aside(ring) for ring in list(self._adopted))

    def adopt_next(self) -> None:
        """Adopt the next ring of a dead process. One at a time: reading a ring takes long."""
        if self._spool is None or self._waits.stopping or self._has_work():
            return
        if self._round is None and time.monotonic() >= self._adopt_at:
            self._round = self._spool.adopt()
        if self._round is None:
            return
        ring = next(self._round, None)
        if ring is None:
            self._round = None
            self._adopt_at = time.monotonic() + ADOPT_SECONDS
        elif len(ring):
            self._adopted.append(ring)
            self._tally.adopted += len(ring)
        else:
            self._delivery.orphans.append(ring)

    def drain(self) -> None:
        """Send adopted records, a batch at a time; this process' own records have precedence."""
        for ring in list(self._adopted):
            entries = self._delivery.next_entries(ring, MAX_BATCH_RECORDS)
            if entries and not self._waits.stopping:
                self._delivery.deliver(ring, entries)
            if not len(ring):
                ring.abandon()  # Again, in case its end was interrupted.
                self._adopted.remove(ring)
                self._delivery.announcements.forget(ring)
        if self._round is not None or self._has_work():
            self._waits.call_for_work()

    def release(self) -> None:
        """Leave the rings whose records are not sent to other processes."""
        rings = self.rings
        self._adopted.clear()
        self._delivery.orphans.clear()
        self._round = None
        for ring in rings:
            ring.abandon()
