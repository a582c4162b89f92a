"""The sender's waits: for work, and after a failure. The program's end ends every wait."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

FIRST_RETRY_SECONDS: Final = 0.5
LONGEST_RETRY_SECONDS: Final = 30.0
KEY_RETRY_SECONDS: Final = 60.0
LONGEST_RETRY_AFTER_SECONDS: Final = 600.0
SHORTEST_RETRY_AFTER_SECONDS: Final = 0.05

# How often the sender polls: as often as batches fill, and once a second when idle.
SHORTEST_POLL_SECONDS: Final = 0.02
LONGEST_POLL_SECONDS: Final = 1.0


# Records are encoded so many at a time, unless many records wait.
_IN_ONE_BREATH: Final = 16
_MANY: Final = 4_096


def in_breaths(items: Sequence[T], waiting: int) -> Iterator[T]:
    """The items, with pauses in which the program's threads can run.

    Python lets a busy thread run for 5 ms at a time, so the program's calls would wait while a
    batch is encoded. A thread that pauses by itself delays others only for a moment.
    """
    for number, item in enumerate(items, 1):
        yield item
        if number % _IN_ONE_BREATH == 0 and waiting < _MANY:
            time.sleep(0)


class _Alarm:
    """Wakes the sender. `ring` takes no lock, in contrast to `Event.set`: a signal handler that
    reports may have interrupted the thread that was about to ring, and would deadlock.
    """

    def __init__(self) -> None:
        # Locked means silent. Releasing a lock is atomic.
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # The alarm was ringing already.
            self._silence.release()

    def silence(self) -> None:
        self._silence.acquire(blocking=False)

    def wait(self, seconds: float) -> bool:
        """Wait until the alarm rings (True) or so many seconds have passed; then silence it."""
        return self._silence.acquire(timeout=seconds)


class CusWaits:
    """The sender's waits. All use the monotonic clock, so a wrong date does no harm."""

    def __init__(self) -> None:
        self.stopping = False
        # `_work`: records wait. `_haste`: a caller waits, so even a pause after a failure ends.
        self._work = _Alarm()
        self._haste = _Alarm()

    def call_for_work(self) -> None:
        """End the wait for work. Costs a system call, so do not call this for every record."""
        self._work.ring()

    def call_in_haste(self) -> None:
        """End the wait for work, and a pause after a failure that the server did not demand."""
        self._work.ring()
        self._haste.ring()

    def stop(self) -> None:
        """End every wait from now on."""
        self.stopping = True
        self.call_in_haste()

    def for_work(self, seconds: float) -> bool:
        """Wait so long, or until a call for work; return whether there was a call."""
        return self._work.wait(seconds)

    def after_failure(self, failures: int) -> None:
        """Wait after failures in a row, longer each time. Only haste can cut this wait short."""
        self._pause(_backoff_seconds(failures), until_haste=True)

    def as_asked(self, seconds: float) -> None:
        """Wait as long as the server has asked."""
        self._pause(_spread_retry_after(seconds))

    def for_a_key(self) -> None:
        """Wait until a refused key may have been mended."""
        self._pause(KEY_RETRY_SECONDS)

    def _pause(self, seconds: float, *, until_haste: bool = False) -> None:
        # Earlier haste is over: the sender has made an attempt since.
        self._haste.silence()
        deadline = time.monotonic() + seconds
        while not self.stopping and (left := deadline - time.monotonic()) > 0:
            if self._haste.wait(left) and until_haste:
                return


class CusPoll:
    """The time of the next poll, and whether waiting records are due."""

    def __init__(self, now: float) -> None:
        self.seconds = SHORTEST_POLL_SECONDS
        self._looked_at = now
        self._empty_at = now

    def is_due(self, now: float, interval: float) -> bool:
        """Whether the oldest record may have waited for the interval."""
        return now - self._empty_at >= interval

    def looked(
        self, now: float, waiting: int, *, emptied: bool, batch: int, interval: float
    ) -> None:
        """Choose the next poll: when a batch will be full at the present pace, or is due."""
        elapsed = now - self._looked_at
        self._looked_at = now
        if emptied or not waiting:
            self._empty_at = now
        pace = elapsed * batch / waiting if waiting else self.seconds * 2
        due = max(self._empty_at + interval - now, 0.0)
        wished = min(pace, self.seconds * 2, LONGEST_POLL_SECONDS, due)
        self.seconds = max(wished, SHORTEST_POLL_SECONDS)


class CusRetry:
    """When an attempt that failed may be made again: later after each failure in a row."""

    def __init__(self) -> None:
        self._failures = 0
        self._at = 0.0

    def is_due(self, now: float) -> bool:
        """Whether the next attempt may be made; `now` in seconds of the monotonic clock."""
        return now >= self._at

    def failed(self, now: float) -> None:
        """Note that an attempt failed."""
        self._failures += 1
        self._at = now + _backoff_seconds(self._failures)

    def worked(self) -> None:
        """Note that an attempt did not fail."""
        self._failures = 0


def _backoff_seconds(failures: int) -> float:
    """Doubles with each failure, and is half to whole of that at random, to spread clients."""
    doubled = FIRST_RETRY_SECONDS * (1 << min(failures - 1, 16))
    longest = min(doubled, LONGEST_RETRY_SECONDS)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


def _spread_retry_after(seconds: float) -> float:
    bounded = min(max(seconds, SHORTEST_RETRY_AFTER_SECONDS), LONGEST_RETRY_AFTER_SECONDS)
    return bounded * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, guards nothing
