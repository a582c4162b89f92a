"""Imports in threads of ours, which a fork must not fall into.

A child that is forked while a thread imports a module has half of it for ever, and a lock that
nobody lets go of: neither we nor the program could use that module there. So a fork waits for us.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

# An import takes a tenth of this even on a busy machine. One that hangs must not hang the program.
LONGEST_WAIT_SECONDS: Final = 5.0

# Reentrant: what is imported may fork itself.
_lock = threading.RLock()
_forking = threading.local()


@contextlib.contextmanager
def forks_wait() -> Iterator[None]:
    """No other thread forks while the block runs; keep it short."""
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
