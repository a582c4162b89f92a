"""Make forks wait for imports in our threads.

A child that is forked while a thread imports a module has a half imported module and a lock that is
never released, so neither we nor the program could use that module there.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

# An import takes a tenth of this even on a busy machine. If an import hangs, the fork goes on.
LONGEST_WAIT_SECONDS: Final = 5.0

# Reentrant: an imported module may fork.
_lock = threading.RLock()
_forking = threading.local()


@contextlib.contextmanager
def forks_wait() -> Iterator[None]:
    """Let forks of other threads wait while the block runs; keep the block short."""
    with _lock:
        yield


def _wait() -> None:
    _forking.has_lock = _lock.acquire(timeout=LONGEST_WAIT_SECONDS)


def _go_on() -> None:
    if _forking.has_lock:
        _lock.release()


def _begin_in_child() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait, after_in_parent=_go_on, after_in_child=_begin_in_child)
