"""What a process says of itself beside its records, so that the server can name what is missing.

`last_sequence` once a minute and at exit: of numbers up to it, those that the server does not have
are on their way or lost. `dropped` as soon as something was: how many numbers will never come. Both
count since the process began, so that saying them twice does no harm.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Final

from aos_sdk.cus_buffer import CusSource

ANNOUNCE_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Said:
    at: float
    dropped: dict[str, int]


@dataclass(slots=True)
class CusAnnouncements:
    """What was announced of which process. `always` is for the last batches of a program."""

    always: bool = False
    _said: dict[str, _Said] = field(default_factory=dict)

    def beside(self, source: CusSource) -> bytes:
        """Members of the batch's body that precede its records; empty if there is no news."""
        said = self._said.get(source.process_id)
        dropped = source.dropped
        due = said is None or time.monotonic() - said.at >= ANNOUNCE_SECONDS
        if not (self.always or due or (said and said.dropped != dropped)):
            return b""
        news: dict[str, object] = {
            "process_id": source.process_id,
            "last_sequence": source.last_sequence,
        }
        if dropped:
            news["dropped"] = dropped
        return json.dumps(news, separators=(",", ":")).encode()[1:-1] + b","

    def arrived(self, source: CusSource) -> None:
        """The server has stored a batch with what `beside` said."""
        self._said[source.process_id] = _Said(time.monotonic(), source.dropped)

    def forget(self, source: CusSource) -> None:
        """A process of which nothing is left."""
        self._said.pop(source.process_id, None)
