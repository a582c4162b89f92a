"""Threads of one kind of request, whose senders take turns."""

import logging
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from queue import SimpleQueue

from aos_project.cus_web.answers import BUSY, LINE_FULL, Refusal, Refused

logger = logging.getLogger(__name__)

# Of one sender, and of all: each waiting request is an open connection, so there are never many.
_LONGEST_LINE = 256
_LONGEST_LINES = 4_096
_REST = 3
_LONGEST_REST_SECONDS = 0.25


class Job:
    """A request that waits for a thread, which runs it or says with what it is to be refused."""

    __slots__ = ("due", "run", "sender")

    def __init__(self, sender: str, run: Callable[[Refusal | None], None]) -> None:
        self.sender = sender
        self.run = run
        self.due = 0.0


class Lane:
    """A fixed number of threads. One sender occupies two thirds of them at most.

    Senders take turns, each with a line of its own: whoever sends much waits for itself. The
    threads that no single sender gets are there for the others at once, since what runs can't be
    interrupted.

    In a lane for `strangers` one sender occupies one thread, and rests after each request for
    three times as long as that took: what anybody can ask for leaves the processor to the others.
    """

    def __init__(self, name: str, threads: int, seconds: float, *, strangers: bool = False) -> None:
        self._name = name
        self._threads = threads
        self._most = 1 if strangers else max(1, threads - threads // 3)
        self._rests = strangers
        self._seconds = seconds
        self._lines: OrderedDict[str, deque[Job]] = OrderedDict()
        self._waiting = 0
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()
        # A token for each job; a job that may not run yet is owed to whoever makes room for it.
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._owed = 0

    def start(self) -> None:
        """Start the threads, which end with the process."""
        for number in range(self._threads):
            name = f"{self._name}-{number + 1}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, job: Job) -> None:
        """Run a job as soon as it is its turn. Raises Refused: too many wait already."""
        job.due = time.monotonic() + self._seconds
        with self._lock:
            line = self._lines.get(job.sender)
            if line is None:
                line = self._lines[job.sender] = deque()
            elif len(line) >= _LONGEST_LINE:
                raise Refused(LINE_FULL)
            if self._waiting >= _LONGEST_LINES:
                if not line:
                    del self._lines[job.sender]
                raise Refused(BUSY)
            line.append(job)
            self._waiting += 1
        self._tokens.put(None)

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
            # Nothing that one request does may cost the others a thread.
            logger.exception("A request could not be answered")
        if self._rests:
            time.sleep(min(_REST * (time.monotonic() - began), _LONGEST_REST_SECONDS))

    def _next(self) -> Job | None:
        """The job whose turn it is, or None: all that wait are of senders that have their share."""
        with self._lock:
            job = self._pick()
            if job is None:
                self._owed += 1
            return job

    def _after(self, done: Job) -> Job | None:
        """Make room for the sender of a job that is done. Returns a job that waited for that."""
        with self._lock:
            self._running[done.sender] -= 1
            if not self._running[done.sender]:
                del self._running[done.sender]
            job = self._pick() if self._owed else None
            if job:
                self._owed -= 1
            return job

    def _pick(self) -> Job | None:
        sender = next((one for one in self._lines if self._running[one] < self._most), None)
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
        return job
