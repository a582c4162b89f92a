"""Threads of one kind of request, whose senders take turns."""

import logging
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from queue import SimpleQueue

from aos_project.cus_web.answers import ADDRESS_FULL, BUSY, LINE_FULL, Refusal, Refused

logger = logging.getLogger(__name__)

# The most waiting requests of one sender, of one address, and of all. Each is an open connection,
# so there are never many. An office has a single address. The bound by address also covers a
# client that invents keys, because each counts as a sender until so many were refused that the
# address is a stranger's.
_LONGEST_LINE = 256
_LONGEST_LINES_OF_ADDRESS = 1_024
_LONGEST_LINES = 4_096
_REST = 3
_LONGEST_REST_SECONDS = 0.25


class Job:
    """A request that waits for a thread. `run` gets None, or the refusal to answer.

    `address` is the client's; empty if it is unknown. While it runs, it may take `owes_rest` back,
    which only a lane for strangers heeds.
    """

    __slots__ = ("address", "due", "owes_rest", "run", "sender")

    def __init__(
        self, sender: str, run: Callable[[Refusal | None], None], address: str = ""
    ) -> None:
        self.sender = sender
        self.run = run
        self.address = address
        self.due = 0.0
        self.owes_rest = True


class Lane:
    """A fixed number of threads. One sender occupies two thirds of them at most.

    Senders take turns, each with a queue of its own, so a busy sender delays only itself. A running
    request can't be interrupted, so a third of the threads stays free of any single sender.

    In a lane for `strangers` one sender occupies one thread, and after each request waits three times
    as long as the request took. So requests that need no account leave processor time to others. A
    request owes no rest if it turned out to be a person's or a program's.
    """

    def __init__(self, name: str, threads: int, seconds: float, *, strangers: bool = False) -> None:
        self._name = name
        self._threads = threads
        self._most = 1 if strangers else max(1, threads - threads // 3)
        self._rests = strangers
        self._seconds = seconds
        self._lines: OrderedDict[str, deque[Job]] = OrderedDict()
        self._waiting = 0
        self._waiting_by_address: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()
        # A token for each job. If no job may run yet, `_owed` counts the token until a finished
        # job makes room.
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._owed = 0

    def start(self) -> None:
        """Start the threads, which end with the process."""
        for number in range(self._threads):
            name = f"{self._name}-{number + 1}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, job: Job) -> None:
        """Queue a job, to run on its turn. Raises Refused if too many wait already."""
        job.due = time.monotonic() + self._seconds
        with self._lock:
            if refusal := self._refusal(job):
                raise Refused(refusal)
            self._lines.setdefault(job.sender, deque()).append(job)
            self._waiting += 1
            self._waiting_by_address[job.address] += 1
        self._tokens.put(None)

    def _refusal(self, job: Job) -> Refusal | None:
        """The refusal if the job's sender, its address or all have too many waiting jobs."""
        if len(self._lines.get(job.sender, ())) >= _LONGEST_LINE:
            return LINE_FULL
        if job.address and self._waiting_by_address[job.address] >= _LONGEST_LINES_OF_ADDRESS:
            return ADDRESS_FULL
        return BUSY if self._waiting >= _LONGEST_LINES else None

    def _work(self) -> None:
        while True:
            self._tokens.get()
            job = self._next()
            while job:
                self._run(job)
                job = self._after(job)

    def _run(self, job: Job) -> None:
        began = time.monotonic()
        try:
            job.run(BUSY if began > job.due else None)
        except BaseException:
            # An error of one request must not end the thread.
            logger.exception("A request could not be answered")
        if self._rests and job.owes_rest:
            time.sleep(min(_REST * (time.monotonic() - began), _LONGEST_REST_SECONDS))

    def _next(self) -> Job | None:
        """The next job, or None if all waiting jobs are of senders that have their share."""
        with self._lock:
            job = self._pick()
            if job is None:
                self._owed += 1
            return job

    def _after(self, done: Job) -> Job | None:
        """Make room for the sender of a finished job; return a job that waited for room."""
        with self._lock:
            self._running[done.sender] -= 1
            if not self._running[done.sender]:
                del self._running[done.sender]
            job = self._pick() if self._owed else None
            if job:
                self._owed -= 1
            return job

    def _pick(self) -> Job | None:
        free = (sender for sender in self._lines if self._running[sender] < self._most)
        sender = next(free, None)
        if sender is None:
            return None
        line = self._lines[sender]
        job = line.popleft()
        if line:
            self._lines.move_to_end(sender)
        else:
            del self._lines[sender]
        self._running[sender] += 1
        self._waiting -= 1
        self._waiting_by_address[job.address] -= 1
        if not self._waiting_by_address[job.address]:
            del self._waiting_by_address[job.address]
        return job
