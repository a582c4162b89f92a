"""Delivery: one daemon thread that sends what waits in the buffer until the server has it all.

At-least-once sending under one `call_id`, which the server deduplicates: exactly once in effect.
"""

import contextlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aos_sdk import cus_exit
from aos_sdk.cus_buffer import CusBuffer, CusEntry
from aos_sdk.cus_errors import (
    CusDeliveryDelayed,
    CusDeliveryError,
    CusKeyRefused,
    CusRecordRefused,
)
from aos_sdk.cus_guard import never_raise, plain_text
from aos_sdk.cus_record import CusUsageRecord, encoded_json
from aos_sdk.cus_transport import CusAnswer, CusReceipt, CusTransport, first_error
from aos_sdk.cus_wire import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    MAX_CALL_ID_LENGTH,
    CusIngestStatus,
)

logger = logging.getLogger("aos_sdk")

FIRST_RETRY_SECONDS: Final = 0.5
LONGEST_RETRY_SECONDS: Final = 30.0
KEY_RETRY_SECONDS: Final = 60.0
LONGEST_RETRY_AFTER_SECONDS: Final = 600.0
SHORTEST_RETRY_AFTER_SECONDS: Final = 0.05
# A batch that the server fails on so often in a row is halved, to find the record at fault; that
# one, alone, is set aside after so many, so that the others pass.
FAILURES_BEFORE_HALVING: Final = 3
FAILURES_BEFORE_SETTING_ASIDE: Final = 5
FIRST_ASIDE_SECONDS: Final = 60.0
LONGEST_ASIDE_SECONDS: Final = 3_600.0

# These blame what was sent, so the sender looks for the record at fault. Every other refusal (a
# 404 from a half-deployed server, a proxy's 405) is about the way there: the records must wait.
_BLAMES_A_RECORD: Final = frozenset({400, 409, 413, 422})
_BLAMES_THE_KEY: Final = frozenset({401, 403})
# The server fell over something, which may be one of our records. 502, 503 and 504 mean "away".
_FAILED: Final = 500

OnError = Callable[[CusDeliveryError], object]


class CusSideReport(Protocol):
    """Something small that the sender's thread delivers beside the records."""

    def report_due(self, now: float, *, final: bool = False) -> tuple[str, bytes] | None:
        """Path and body to post now, or None; `final` at the end of a program, in full."""

    def answered(self, answer: CusAnswer, now: float) -> None:
        """What the server said to it."""


@dataclass(slots=True)
class CusTally:
    """What became of the records. Only the sender's thread writes it, but for `faults`."""

    sent: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    retries: int = 0
    faults: int = 0

    def count_fault(self) -> None:
        self.faults += 1


class _Alarm:
    """Wakes the sender. Ringing takes no lock, as `Event.set` does: a signal handler that reports
    may have interrupted the very thread that was about to ring.
    """

    def __init__(self) -> None:
        # Locked is silent, and releasing a lock is one atomic step.
        self._silence = threading.Lock()
        self._silence.acquire()
        self.is_silent = self._silence.locked

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # it was ringing already
            self._silence.release()

    def silence(self) -> None:
        self._silence.acquire(blocking=False)

    def wait(self, seconds: float) -> bool:
        """Until it rings (True), at most so many seconds; it is silent afterwards."""
        return self._silence.acquire(timeout=seconds)


@dataclass(slots=True)
class _Part:
    """Records that go out together, and how often in a row the server failed on them."""

    entries: list[CusEntry]
    failures: int = 0

    def halves(self) -> "list[_Part]":
        middle = len(self.entries) // 2
        return [_Part(self.entries[:middle]), _Part(self.entries[middle:])]


@dataclass(slots=True)
class _Aside:
    """A record on which the server fails: it goes out alone, less and less often."""

    entry: CusEntry
    delay_seconds: float
    due: float


class CusSender:
    """Sends records of one buffer to one server; safe to fork, to exit and to be interrupted."""

    def __init__(
        self,
        buffer: CusBuffer,
        transport: CusTransport,
        *,
        batch_size: int,
        batch_interval: float,
        on_error: OnError | None = None,
    ) -> None:
        self.buffer = buffer
        self.side_reports: list[CusSideReport] = []
        self._transport = transport
        self._on_error = on_error
        self.set_pace(batch_size, batch_interval)
        self._begin()
        cus_exit.look_after(self)

    def _begin(self) -> None:
        self.tally = CusTally()
        self.guard = never_raise(count=self.tally.count_fault)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._stopping = False
        # There is something to send / somebody waits for it: go on, even in a pause after a failure.
        self._work = _Alarm()
        self._haste = _Alarm()
        self._settled = threading.Condition()
        self._settled_count = 0
        self._failures = 0
        # By `id` of the entry, which the buffer still holds as taken.
        self._aside: dict[int, _Aside] = {}

    def set_pace(self, batch_size: int, batch_interval: float) -> None:
        """Send every `batch_size` records (1 to 1,000), at the latest after `batch_interval` s."""
        self.batch_size = min(max(batch_size, 1), MAX_BATCH_RECORDS)
        self.batch_interval = min(max(batch_interval, 0.01), 3_600.0)

    def accept(self, record: CusUsageRecord) -> None:
        """Take one record over. Costs its caller a microsecond or two."""
        waiting = self.buffer.append(record)
        # The thread is woken once a batch, never once a record: waking costs more than all else.
        if waiting >= self.batch_size and self._work.is_silent():
            self._work.ring()
        self.ensure_running()

    def ensure_running(self) -> None:
        """Start the thread unless it runs."""
        if self._thread is None:
            self._start()

    def flush(self, timeout: float) -> int:
        """Send what waits now; say how many records are left, at the latest after `timeout` s.

        Records that were set aside are not waited for.
        """
        mine = len(self.buffer) - len(self._aside)
        if mine <= 0 or threading.current_thread() is self._thread:
            return len(self.buffer)
        goal = self._settled_count + mine
        self._go()
        with self._settled:
            self._settled.wait_for(lambda: self._has_settled(goal), max(timeout, 0.0))
        return len(self.buffer)

    def _has_settled(self, goal: int) -> bool:
        # Under steady traffic the buffer may never be seen empty; what was there is gone by then.
        return self._settled_count >= goal or len(self.buffer) <= len(self._aside)

    def hurry_up(self) -> None:
        """Send what waits now, in batches as large as can be, without waiting for it."""
        self.batch_size = MAX_BATCH_RECORDS
        if len(self.buffer):
            self._go()

    def _go(self) -> None:
        self.ensure_running()
        self._work.ring()
        self._haste.ring()

    def stop(self, timeout: float) -> int:
        """Flush, then end the thread; a later record starts it anew. Says how many are left."""
        deadline = time.monotonic() + timeout
        left = self.flush(timeout)
        thread = self._thread
        self._stopping = True
        self._work.ring()
        self._haste.ring()
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(deadline - time.monotonic(), 0.0))
        return left

    def restart_in_child(self) -> None:
        """Begin anew after a fork: the thread is gone, the waiting records are the parent's."""
        self._begin()
        self.buffer.restart()
        self._transport.abandon()

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # another thread is at it, or the code that this one has interrupted
        try:
            if self._thread is None:
                self._stopping = False
                thread = threading.Thread(target=self._run, name="aos-sdk-sender", daemon=True)
                self._thread = thread
                thread.start()
        except RuntimeError:
            self._thread = None  # no thread can be had; the next record tries again
            raise
        finally:
            self._starting.release()
        cus_exit.prepare_exit()

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._work.wait(self.batch_interval)
                with self.guard:
                    self._drain()
                self._send_side_reports()
            self._send_side_reports(final=True)
            self._transport.close()
        finally:
            self._thread = None

    def _send_side_reports(self, *, final: bool = False) -> None:
        for side in self.side_reports:
            with self.guard:
                due = side.report_due(time.monotonic(), final=final)
                while due is not None:
                    answer = self._transport.post(*due)
                    side.answered(answer, time.monotonic())
                    # The next one at once, but never the same again.
                    former, due = due, side.report_due(time.monotonic(), final=final)
                    due = None if due == former else due

    def _drain(self) -> None:
        while not self._stopping:
            self._retry_set_aside()
            taken = self.buffer.take(self.batch_size + len(self._aside))
            entries = [entry for entry in taken if id(entry) not in self._aside]
            if not entries:
                return
            self._deliver(_Part(entries))

    def _deliver(self, whole: _Part) -> None:
        """Send a batch until every record of it is settled, in parts where the server asks.

        What has to go out again lets the other parts go first.
        """
        parts = deque([whole])
        while parts and not self._stopping:
            parts += self._attempt(parts.popleft())

    def _attempt(self, part: _Part) -> list[_Part]:
        """Send one part; return what of it is to be sent again."""
        body = self._encode(part)
        if not part.entries:
            return []
        if len(body) > MAX_BATCH_BYTES and len(part.entries) > 1:
            return part.halves()
        answer = self._transport.post_batch(body)
        if self._stored(part.entries, answer):
            return []
        if answer.status in _BLAMES_A_RECORD:
            return self._narrow(part, answer)
        if answer.status == _FAILED and answer.retry_after_seconds is None:
            return self._isolate(part, answer)
        part.failures = 0
        self._wait_after(answer)
        return [part]

    def _encode(self, part: _Part) -> bytes:
        """The body of a batch. A record that cannot be encoded is refused here, alone."""
        good: list[CusEntry] = []
        texts: list[bytes] = []
        errors: list[Exception] = []
        # It is no fault of ours, so it is counted as refused and not as a fault.
        guard = never_raise(count=int, tell=errors.append)
        for entry in part.entries:
            errors.clear()
            with guard:
                texts.append(_record_json(entry))
                good.append(entry)
            for error in errors:
                self._refuse(entry, "unencodable", f"{type(error).__name__} while encoding", "")
        part.entries = good
        return b'{"records":[%b]}' % b",".join(texts)

    def _stored(self, entries: list[CusEntry], answer: CusAnswer) -> bool:
        """Take a receipt in. One that does not account for every record is none."""
        receipt = CusReceipt.read(answer)
        if receipt is None or receipt.total != len(entries):
            return False
        self.tally.sent += receipt.accepted
        self.tally.duplicates += receipt.duplicates
        self.tally.conflicts += receipt.conflicts
        self.tally.rejected += receipt.rejected
        self._recover()
        self._settle(entries)
        for result in receipt.results:
            with self.guard:
                self._report_result(result)
        return True

    def _report_result(self, result: Any) -> None:
        if result["status"] not in (CusIngestStatus.CONFLICT, CusIngestStatus.REJECTED):
            return
        words = (str(result.get(name) or "") for name in ("code", "detail", "attr"))
        self._tell(CusRecordRefused(str(result["call_id"]), str(result["status"]), *words))

    def _narrow(self, part: _Part, answer: CusAnswer) -> list[_Part]:
        """Halve a refused batch, so that one bad record does not hold up the others."""
        self._recover()
        if len(part.entries) > 1:
            return part.halves()
        self._refuse(part.entries[0], *first_error(answer))
        return []

    def _refuse(self, entry: CusEntry, code: str, detail: str, attr: str) -> None:
        self.tally.rejected += 1
        self._settle([entry])
        call_id = self._name_of(entry)
        self._tell(CusRecordRefused(call_id, CusIngestStatus.REJECTED, code, detail, attr))

    def _name_of(self, entry: CusEntry) -> str:
        with self.guard:
            return plain_text(str(entry[2].call_id), MAX_CALL_ID_LENGTH)
        return "?"

    def _settle(self, entries: list[CusEntry]) -> None:
        self.buffer.settle(entries)
        with self._settled:
            asides = [self._aside.pop(id(entry), None) for entry in entries]
            self._settled_count += asides.count(None)
            self._settled.notify_all()

    def _isolate(self, part: _Part, answer: CusAnswer) -> list[_Part]:
        """Look for the record that the server fails on, if it is one, and set it aside."""
        part.failures += 1
        if id(part.entries[0]) in self._aside:
            self._set_aside(part.entries[0], answer)
            return []
        self._wait_after(answer)
        if len(part.entries) > 1:
            return part.halves() if part.failures >= FAILURES_BEFORE_HALVING else [part]
        if part.failures < FAILURES_BEFORE_SETTING_ASIDE:
            return [part]
        self._set_aside(part.entries[0], answer)
        return []

    def _set_aside(self, entry: CusEntry, answer: CusAnswer) -> None:
        former = self._aside.get(id(entry))
        delay = FIRST_ASIDE_SECONDS
        if former:
            self.tally.retries += 1
            delay = min(former.delay_seconds * 2, LONGEST_ASIDE_SECONDS)
        else:
            self._complain(
                f"the server fails on usage record {self._name_of(entry)} ({answer.reason}); "
                "it is kept and sent again later, after the others"
            )
        with self._settled:
            self._aside[id(entry)] = _Aside(entry, delay, time.monotonic() + delay)
            self._settled.notify_all()

    def _retry_set_aside(self) -> None:
        now = time.monotonic()
        for aside in [aside for aside in self._aside.values() if aside.due <= now]:
            self._deliver(_Part([aside.entry]))

    def _wait_after(self, answer: CusAnswer) -> None:
        """Pause before the next request: records stay ours until they are stored."""
        self.tally.retries += 1
        self._failures += 1
        if self._failures == 1:
            self._announce(answer)
        if answer.status in _BLAMES_THE_KEY:
            self._pause(KEY_RETRY_SECONDS)
        elif answer.retry_after_seconds is not None:
            self._pause(_spread_retry_after(answer.retry_after_seconds))
        else:
            # Only a wait that nobody asked for may be cut short, and by `flush` alone.
            self._pause(_backoff_seconds(self._failures), until_haste=True)

    def _pause(self, seconds: float, *, until_haste: bool = False) -> None:
        # Whoever was in haste before has had an attempt since.
        self._haste.silence()
        deadline = time.monotonic() + seconds
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            if self._haste.wait(left) and until_haste:
                return

    def _announce(self, answer: CusAnswer) -> None:
        # Once an outage: a log line an attempt would fill the host's disk.
        if answer.status in _BLAMES_THE_KEY:
            message = f"the server refuses the integration key ({answer.reason}); records are kept"
            self._complain(message, CusKeyRefused)
        else:
            self._complain(f"telemetry is delayed ({answer.reason}); it is kept and sent later")

    def _complain(self, message: str, kind: type[CusDeliveryError] = CusDeliveryDelayed) -> None:
        self._tell(kind(message))
        logger.warning("%s", message)

    def _recover(self) -> None:
        if self._failures:
            logger.info("telemetry is delivered again")
        self._failures = 0

    def _tell(self, error: CusDeliveryError) -> None:
        if self._on_error is None:
            return
        with self.guard:
            self._on_error(error)


def _record_json(entry: CusEntry) -> bytes:
    process_id, number, record = entry
    data = record.to_dict()
    data["process_id"] = process_id
    data["sequence"] = number
    return encoded_json(data)


def _backoff_seconds(failures: int) -> float:
    """Twice as long each time, from half to whole at random: clients must not come in step."""
    doubled = FIRST_RETRY_SECONDS * (1 << min(failures - 1, 16))
    longest = min(doubled, LONGEST_RETRY_SECONDS)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


def _spread_retry_after(seconds: float) -> float:
    wanted = min(max(seconds, SHORTEST_RETRY_AFTER_SECONDS), LONGEST_RETRY_AFTER_SECONDS)
    return wanted * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, guards nothing
