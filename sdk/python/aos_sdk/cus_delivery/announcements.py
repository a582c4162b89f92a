"""Announcements of a process beside its records, by which the server finds missing records.

`last_sequence`, once a minute and at exit: sequences up to this that the server lacks are on their
way or lost. `dropped`, as soon as a record was dropped: how many sequences will never come. Both
count since the process began, so a repeated announcement does no harm.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any, Final

from aos_sdk.cus_delivery.buffer import CusSource

ANNOUNCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class CusNews:
    """The announcement of a process, at the moment when its batch was made."""

    process_id: str
    last_sequence: int
    dropped: dict[str, int]

    def members(self) -> bytes:
        """Members of the batch's body that precede its records."""
        body: dict[str, Any] = {"process_id": self.process_id, "last_sequence": self.last_sequence}
        if self.dropped:
            body["dropped"] = self.dropped
        return json.dumps(body, separators=(",", ":")).encode()[1:-1] + b","


@dataclass(slots=True)
class CusAnnouncements:
    """The last announcement of each process. `always` is for the last batches of a program."""

    always: bool = False
    _announced: dict[str, tuple[float, CusNews]] = field(default_factory=dict)

    def of(self, source: CusSource, highest: int) -> CusNews | None:
        """The announcement for a batch that ends with the sequence `highest`, or None.

        An announcement is due once a minute. While more records wait than the batch holds, it is
        also due whenever `last_sequence` has doubled, so that the server misses most records of a
        process that was killed in a burst.
        """
        at, last = self._announced.get(source.process_id, (0.0, None))
        news = CusNews(source.process_id, source.last_sequence, source.dropped)
        due = last is None or time.monotonic() - at >= ANNOUNCE_SECONDS
        if self.always or due or last is None or last.dropped != news.dropped:
            return news
        has_grown = news.last_sequence >= 2 * last.last_sequence
        return news if has_grown and news.last_sequence > highest else None

    def arrived(self, news: CusNews) -> None:
        """Note that the server has stored a batch with this announcement."""
        self._announced[news.process_id] = (time.monotonic(), news)

    def forget(self, source: CusSource) -> None:
        """Forget a process of which no records are left."""
        self._announced.pop(source.process_id, None)
