"""The clock of leases, which also runs while the machine sleeps: a lease ends then."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final


def _clock() -> Callable[[], float]:
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None:  # The system has none.
        return time.monotonic
    return partial(time.clock_gettime, boottime)


# Seconds, comparable with each other alone.
clock: Final = _clock()
