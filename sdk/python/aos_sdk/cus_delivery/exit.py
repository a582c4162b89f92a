"""Send the waiting records at the end of a program.

An exiting interpreter runs `atexit`; a child of multiprocessing runs only its own finalizers;
SIGTERM ends a program at once unless a handler is installed. `os._exit` and SIGKILL can't be
caught. The records in a ring survive all of these, so the SDK handles SIGTERM only without a ring.
"""

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Final, Protocol

from aos_sdk.cus_delivery.buffer import CusBuffer
from aos_sdk.cus_guard import never_raise

logger = logging.getLogger("aos_sdk")

EXIT_SECONDS: Final = 0.7
# After the finalizers of the program, which may still report.
_LAST: Final = -1_000


class CusEndingSender(Protocol):
    """The methods of a sender for the end of the program and for forks."""

    guard: never_raise
    buffer: CusBuffer | None

    def hurry_up(self) -> None: ...

    def stop(self, timeout: float, *, adopt: bool = False) -> int: ...

    def discard_if_empty(self) -> None: ...

    def restart_in_child(self) -> None: ...


_senders: "weakref.WeakSet[CusEndingSender]" = weakref.WeakSet()
# The process in which our multiprocessing finalizer is registered. A fork inherits this number, but
# not the finalizer.
_finalized_in: int | None = None
_last_words: list[Callable[[], object]] = []


def before_sending(say: Callable[[], object]) -> None:
    """Register `say`, to be called at the end of a program while it can still report.

    `say` must not raise.
    """
    _last_words.append(say)


def look_after(sender: CusEndingSender, *, durable: bool) -> None:
    """Send this sender's waiting records before the process ends, and restart it in a fork."""
    _senders.add(sender)
    if not durable:
        _listen_for_sigterm()


def prepare_exit(*, durable: bool) -> None:
    """Register the hooks that each process needs. Called when a sender starts its thread."""
    if not durable:
        _listen_for_sigterm()
    _finalize_child()


@atexit.register
def send_what_waits() -> None:
    """Send with all senders at once, within one deadline: a dead server must not delay the exit."""
    deadline = time.monotonic() + EXIT_SECONDS
    for say in _last_words:
        say()
    senders = list(_senders)
    for sender in senders:
        with sender.guard:
            sender.hurry_up()
    for sender in senders:
        with sender.guard:
            sender.stop(max(deadline - time.monotonic(), 0.0), adopt=True)
            sender.discard_if_empty()
    _say_what_is_left(senders)


def _say_what_is_left(senders: list[CusEndingSender]) -> None:
    buffers = [sender.buffer for sender in senders if sender.buffer is not None]
    if kept := sum(len(buffer) for buffer in buffers if buffer.durable):
        logger.info("%d usage records wait on disk for the next process", kept)
    if lost := sum(len(buffer) for buffer in buffers if not buffer.durable):
        logger.warning(
            "%d usage records could not be sent before the program ended, and are lost", lost
        )


def _listen_for_sigterm() -> None:
    # If the program handles SIGTERM itself, its handler stays.
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # A subinterpreter may not set a handler.
            signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """Send the waiting records, then die of the signal, as the parent process expects."""
    try:
        send_what_waits()
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _finalize_child() -> None:
    """A forked child of multiprocessing (or Celery) leaves by `os._exit`, which skips `atexit`."""
    global _finalized_in
    # Such a child has imported multiprocessing already, so other programs need not import it.
    package, util = sys.modules.get("multiprocessing"), sys.modules.get("multiprocessing.util")
    if package is None or util is None or _finalized_in == os.getpid():
        return
    # A spawned child has an interpreter of its own, which runs `atexit`.
    is_spawned = package.get_start_method(allow_none=True) == "spawn"
    # Celery's workers have a name in multiprocessing, but no parent process there.
    if package.current_process().name != "MainProcess" and not is_spawned:
        _finalized_in = os.getpid()
        util.Finalize(None, send_what_waits, exitpriority=_LAST)


def _restart_all_in_child() -> None:
    for sender in list(_senders):
        sender.restart_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_all_in_child)
