"""What a process says of itself beside its records, so that the server can name what is missing.

`last_sequence` once a minute and at exit: of numbers up to it, those that the server does not have
are on their way or lost. `dropped` as soon as something was: how many numbers will never come. Both
count since the process began, so that saying them twice does no harm.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any, Final

from aos_sdk.cus_delivery.buffer import CusSource

ANNOUNCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class CusNews:
    """What there is to say of a process, as it was when it was put into a batch."""

    process_id: str
    last_sequence: int
    dropped: dict[str, int]

    def members(self) -> bytes:
        """Members of the batch's body that precede its records."""
        said: dict[str, Any] = {"process_id": self.process_id, "last_sequence": self.last_sequence}
        if self.dropped:
            said["dropped"] = self.dropped
        return json.dumps(said, separators=(",", ":")).encode()[1:-1] + b","


@dataclass(slots=True)
class CusAnnouncements:
    """What was announced of which process. `always` is for the last batches of a program."""

    always: bool = False
    _said: dict[str, tuple[float, CusNews]] = field(default_factory=dict)

    def of(self, source: CusSource, highest: int) -> CusNews | None:
        """News of a process beside a batch that ends with the number `highest`, if there is any.

        Once a minute there is; and while more waits than the batch holds, whenever twice as much
        has been reported as was said: a process killed in a burst is missed by more than its start.
        """
        at, said = self._said.get(source.process_id, (0.0, None))
        news = CusNews(source.process_id, source.last_sequence, source.dropped)
        due = said is None or time.monotonic() - at >= ANNOUNCE_SECONDS
        if self.always or due or said is None or said.dropped != news.dropped:
            return news
        has_grown = news.last_sequence >= 2 * said.last_sequence
        return news if has_grown and news.last_sequence > highest else None

    def arrived(self, news: CusNews) -> None:
        """The server has stored a batch with these. What has happened since is to be said yet."""
        self._said[news.process_id] = (time.monotonic(), news)

    def forget(self, source: CusSource) -> None:
        """A process of which nothing is left."""
        self._said.pop(source.process_id, None)
