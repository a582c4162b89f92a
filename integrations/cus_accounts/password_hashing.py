"""Bound the password hashes that run at one time on a machine; others wait in a short queue.

A hash takes a core for a third of a second and 100 MiB, on purpose. Each sign-in, proof and new
password needs a hash, also those of strangers. So few hashes run at one time, whatever the number
of processes, and their threads have a low priority.
"""

import fcntl
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth import hashers
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from integrations.cus_web.errors import CusError

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_NO_LOCK = -1
# A hashing thread gets a tenth of the processor time of a thread with the usual priority, if both
# are busy. With less, sign-ins to a busy machine would never end.
_NICENESS = 10


class PasswordsBusy(CusError):
    """Too many people are signing in at this moment. Try again in a few seconds."""

    code, status = "unavailable", 503
    retry_after_seconds = 5


class HashingPlaces:
    """Runs hashes: `places` at a time; `line` more wait, each for `seconds` at most.

    `locks` is a folder that the processes of a machine share: all of them together hash `places`
    at a time, because two hashes on two cores leave no core to checks. Without the folder each
    process has its own places.
    """

    def __init__(
        self, places: int, line: int, seconds: float, *, locks: Path | None = None
    ) -> None:
        self._free = threading.Semaphore(places + line)
        self._seconds = seconds
        self._locks = locks
        self._numbers = itertools.count()
        self._here = threading.local()
        self._threads = ThreadPoolExecutor(places, "password", initializer=self._enter)

    def run(self, work: Callable[[], _T]) -> _T:
        """Run `work` in a place and return its result.

        Raises PasswordsBusy if the queue is full or the wait takes too long.
        """
        # The methods of a hasher call each other, so this thread may hold a place already.
        if getattr(self._here, "place", None) is not None:
            return work()
        if not self._free.acquire(blocking=False):
            raise PasswordsBusy
        due = time.monotonic() + self._seconds
        begun = self._threads.submit(self._worked, work, due)
        try:
            return begun.result(timeout=self._seconds)
        except TimeoutError:
            if begun.cancel():
                self._free.release()
            raise PasswordsBusy from None

    def _worked(self, work: Callable[[], _T], due: float) -> _T:
        try:
            with _taken(self._here.place):
                if time.monotonic() > due:
                    raise PasswordsBusy
                return work()
        finally:
            self._free.release()

    def _enter(self) -> None:
        self._here.place = _open_lock(self._locks, next(self._numbers))
        # On Linux `nice` changes the thread's priority; elsewhere it would change the process'.
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _open_lock(folder: Path | None, number: int) -> int:
    """Open the lock file of a place of the machine; `_NO_LOCK` if the folder can't be used."""
    if folder is None:
        return _NO_LOCK
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid != os.geteuid():
            raise PermissionError(f"{folder} belongs to another user")
        return os.open(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        logger.warning("Each process hashes passwords by itself: %s", error)
        return _NO_LOCK


@contextmanager
def _taken(lock: int) -> Iterator[None]:
    """Hold a place of the machine. The kernel frees the place if this process dies."""
    if lock == _NO_LOCK:
        yield
        return
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


@lru_cache(maxsize=1)
def hashing_places() -> HashingPlaces:
    """The places of this process."""
    locks = settings.CUS_PASSWORD_LOCKS
    return HashingPlaces(
        settings.CUS_PASSWORD_PLACES,
        settings.CUS_PASSWORD_LINE,
        settings.CUS_PASSWORD_WAIT_SECONDS,
        locks=Path(locks) if locks else None,
    )


# Threads do not survive a fork.
os.register_at_fork(after_in_child=hashing_places.cache_clear)


class _InPlaces(hashers.BasePasswordHasher):
    """Mixin for a hasher of Django's: does the hasher's work in `hashing_places`."""

    def encode(self, password: str, salt: str, *details: Any) -> str:
        return hashing_places().run(partial(super().encode, password, salt, *details))

    def verify(self, password: str, encoded: str) -> bool:
        return hashing_places().run(partial(super().verify, password, encoded))

    def harden_runtime(self, password: str, encoded: str) -> None:
        hashing_places().run(partial(super().harden_runtime, password, encoded))


class CusArgon2PasswordHasher(_InPlaces, hashers.Argon2PasswordHasher):
    """Argon2id on one thread: Django's eight lanes would be eight threads, on every core.

    Hashes with other parameters are verified with those, and replaced at the next sign-in.
    """

    parallelism = 1


class CusPBKDF2PasswordHasher(_InPlaces, hashers.PBKDF2PasswordHasher):
    """Verifies hashes from other systems; the next sign-in replaces them."""


class CusBusyPages:
    """Middleware: answers with a page when too many people are signing in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer 503 for a page whose view hashes. API views answer by themselves."""
        if not isinstance(error, PasswordsBusy):
            return None
        context = {"title": "Too many sign-ins", "detail": error.detail}
        page = render(request, "registration/cus_busy.html", context, status=error.status)
        page["Retry-After"] = str(error.retry_after_seconds)
        return page
