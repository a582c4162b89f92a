"""How the sender waits: for work, and after a failure. Every wait ends when the program does."""

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

# How often the sender looks for work: as often as batches fill, and once a second when idle.
SHORTEST_POLL_SECONDS: Final = 0.02
LONGEST_POLL_SECONDS: Final = 1.0


# Records are made ready so many at a time, unless so many wait that it has to go quickly.
_IN_ONE_BREATH: Final = 16
_MANY: Final = 4_096


def in_breaths(items: Sequence[T], waiting: int) -> Iterator[T]:
    """The items, with a pause in between for the program's threads.

    Python lets a thread that works run for 5 ms, and a call would stand still for as long as a
    batch takes to be made. Who gives way himself is only waited for a moment.
    """
    for number, item in enumerate(items, 1):
        yield item
        if number % _IN_ONE_BREATH == 0 and waiting < _MANY:
            time.sleep(0)


class _Alarm:
    """Wakes the sender. Ringing takes no lock, as `Event.set` does: a signal handler that reports
    may have interrupted the very thread that was about to ring.
    """

    def __init__(self) -> None:
        # Locked is silent, and releasing a lock is one atomic step.
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # it was ringing already
            self._silence.release()

    def silence(self) -> None:
        self._silence.acquire(blocking=False)

    def wait(self, seconds: float) -> bool:
        """Until it rings (True), at most so many seconds; it is silent afterwards."""
        return self._silence.acquire(timeout=seconds)


class CusWaits:
    """The sender's clockwork. All of it is by the monotonic clock: a wrong date harms nothing."""

    def __init__(self) -> None:
        self.stopping = False
        # There is something to send / somebody waits for it: go on, even in a pause after a failure.
        self._work = _Alarm()
        self._haste = _Alarm()

    def call_for_work(self) -> None:
        """End the wait for work. Costs a system call, so it is nothing for every record."""
        self._work.ring()

    def call_in_haste(self) -> None:
        """End the wait for work, and a pause that nobody asked for."""
        self._work.ring()
        self._haste.ring()

    def stop(self) -> None:
        """End every wait from now on."""
        self.stopping = True
        self.call_in_haste()

    def for_work(self, seconds: float) -> bool:
        """Wait so long, or until somebody calls; says whether somebody did."""
        return self._work.wait(seconds)

    def after_failure(self, failures: int) -> None:
        """Longer after each failure in a row. Only this wait may be cut short, and by haste alone."""
        self._pause(_backoff_seconds(failures), until_haste=True)

    def as_asked(self, seconds: float) -> None:
        """As long as the server asked for."""
        self._pause(_spread_retry_after(seconds))

    def for_a_key(self) -> None:
        """Until a refused key may have been mended."""
        self._pause(KEY_RETRY_SECONDS)

    def _pause(self, seconds: float, *, until_haste: bool = False) -> None:
        # Whoever was in haste before has had an attempt since.
        self._haste.silence()
        deadline = time.monotonic() + seconds
        while not self.stopping and (left := deadline - time.monotonic()) > 0:
            if self._haste.wait(left) and until_haste:
                return


class CusPoll:
    """When to look next, and whether what waits is due: no record wakes the sender."""

    def __init__(self, now: float) -> None:
        self.seconds = SHORTEST_POLL_SECONDS
        self._looked_at = now
        self._empty_at = now

    def is_due(self, now: float, interval: float) -> bool:
        """Whether the oldest may have waited for the interval."""
        return now - self._empty_at >= interval

    def looked(
        self, now: float, waiting: int, *, emptied: bool, batch: int, interval: float
    ) -> None:
        """Choose the next moment: when a batch will be full by the pace so far, or is due."""
        elapsed = now - self._looked_at
        self._looked_at = now
        if emptied or not waiting:
            self._empty_at = now
        pace = elapsed * batch / waiting if waiting else self.seconds * 2
        due = max(self._empty_at + interval - now, 0.0)
        wished = min(pace, self.seconds * 2, LONGEST_POLL_SECONDS, due)
        self.seconds = max(wished, SHORTEST_POLL_SECONDS)


def _backoff_seconds(failures: int) -> float:
    """Twice as long each time, from half to whole at random: clients must not come in step."""
    doubled = FIRST_RETRY_SECONDS * (1 << min(failures - 1, 16))
    longest = min(doubled, LONGEST_RETRY_SECONDS)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


def _spread_retry_after(seconds: float) -> float:
    wanted = min(max(seconds, SHORTEST_RETRY_AFTER_SECONDS), LONGEST_RETRY_AFTER_SECONDS)
    return wanted * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, guards nothing
