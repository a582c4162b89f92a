"""Delivery: one daemon thread that sends what waits in the buffer until the server has it all.

At-least-once sending under one `call_id`, which the server deduplicates: exactly once in effect.
"""

import atexit
import contextlib
import json
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aos_sdk.cus_buffer import CusBuffer, CusEntry
from aos_sdk.cus_errors import (
    CusDeliveryDelayed,
    CusDeliveryError,
    CusKeyRefused,
    CusRecordRefused,
)
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_record import CusUsageRecord
from aos_sdk.cus_transport import CusAnswer, CusTransport
from aos_sdk.cus_wire import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, CusIngestStatus

logger = logging.getLogger("aos_sdk")

FIRST_RETRY_SECONDS: Final = 0.5
LONGEST_RETRY_SECONDS: Final = 30.0
KEY_RETRY_SECONDS: Final = 60.0
LONGEST_RETRY_AFTER_SECONDS: Final = 600.0
SHORTEST_RETRY_AFTER_SECONDS: Final = 0.05
EXIT_SECONDS: Final = 0.8

# These blame what was sent, so the sender looks for the record at fault. Every other refusal (a
# 404 from a half-deployed server, a proxy's 405) is about the way there: the records must wait.
_BLAMES_A_RECORD: Final = frozenset({400, 409, 413, 422})
_BLAMES_THE_KEY: Final = frozenset({401, 403})

OnError = Callable[[CusDeliveryError], object]


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


class _Receipt(NamedTuple):
    """What a 2xx answer says became of a batch."""

    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    results: list[Any]

    @property
    def total(self) -> int:
        return self.accepted + self.duplicates + self.conflicts + self.rejected

    @classmethod
    def read(cls, answer: CusAnswer) -> "_Receipt | None":
        """None if it is no receipt: a proxy's or a portal's 200 must not pass for storage."""
        body: Any = answer.json() if 200 <= answer.status < 300 else None
        if not isinstance(body, dict):
            return None
        counts: list[Any] = [body.get(name) for name in cls._fields[:4]]
        results = body.get("results")
        if not isinstance(results, list) or not all(type(n) is int and n >= 0 for n in counts):
            return None
        return cls(counts[0], counts[1], counts[2], counts[3], results)


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

    def wait(self, seconds: float) -> None:
        """Until it rings, at most so many seconds; it is silent afterwards."""
        self._silence.acquire(timeout=seconds)


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
        self._transport = transport
        self._on_error = on_error
        self.set_pace(batch_size, batch_interval)
        self._begin()
        _senders.add(self)

    def _begin(self) -> None:
        self.tally = CusTally()
        self.guard = never_raise(count=self.tally.count_fault)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._wake = _Alarm()
        self._hurry = threading.Event()
        self._stop = threading.Event()
        self._settled = threading.Condition()
        self._settled_count = 0
        self._failures = 0

    def set_pace(self, batch_size: int, batch_interval: float) -> None:
        """Send every `batch_size` records (1 to 1,000), at the latest after `batch_interval` s."""
        self.batch_size = min(max(batch_size, 1), MAX_BATCH_RECORDS)
        self.batch_interval = min(max(batch_interval, 0.01), 3_600.0)

    def accept(self, record: CusUsageRecord) -> None:
        """Take one record over. Costs its caller a microsecond or two."""
        waiting = self.buffer.append(record)
        # The thread is woken once a batch, never once a record: waking costs more than all else.
        if waiting >= self.batch_size and self._wake.is_silent():
            self._wake.ring()
        if self._thread is None:
            self._start()

    def flush(self, timeout: float) -> int:
        """Send what waits now; say how many records are left, at the latest after `timeout` s."""
        mine = len(self.buffer)
        if not mine or threading.current_thread() is self._thread:
            return mine
        if self._thread is None:
            self._start()
        goal = self._settled_count + mine
        self._hurry.set()
        self._wake.ring()
        with self._settled:
            self._settled.wait_for(lambda: self._has_settled(goal), max(timeout, 0.0))
        return len(self.buffer)

    def _has_settled(self, goal: int) -> bool:
        # Under steady traffic the buffer may never be seen empty; what was there is gone by then.
        return self._settled_count >= goal or not len(self.buffer)

    def stop(self, timeout: float) -> int:
        """Flush, then end the thread; a later record starts it anew. Says how many are left."""
        deadline = time.monotonic() + timeout
        left = self.flush(timeout)
        thread = self._thread
        self._stop.set()
        self._hurry.set()
        self._wake.ring()
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
                self._stop.clear()
                thread = threading.Thread(target=self._run, name="aos-sdk-sender", daemon=True)
                self._thread = thread
                thread.start()
        except RuntimeError:
            self._thread = None  # no thread can be had; the next record tries again
            raise
        finally:
            self._starting.release()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self.batch_interval)
            with self.guard:
                self._drain()
        self._transport.close()
        self._thread = None

    def _drain(self) -> None:
        while not self._stop.is_set():
            entries = self.buffer.take(self.batch_size)
            if not entries:
                return
            self._deliver(entries)

    def _deliver(self, entries: list[CusEntry]) -> None:
        """Send a batch until every record of it is settled, in parts where the server asks."""
        parts = [entries]
        while parts and not self._stop.is_set():
            parts += reversed(self._attempt(parts.pop()))

    def _attempt(self, part: list[CusEntry]) -> list[list[CusEntry]]:
        """Send one part; return what of it is to be sent again."""
        part, body = self._encode(part)
        if not part:
            return []
        if len(body) > MAX_BATCH_BYTES and len(part) > 1:
            return _halves(part)
        answer = self._transport.post_batch(body)
        if self._stored(part, answer):
            return []
        if answer.status in _BLAMES_A_RECORD:
            return self._narrow(part, answer)
        self._wait_after(answer)
        return [part]

    def _encode(self, part: list[CusEntry]) -> tuple[list[CusEntry], bytes]:
        """The body of a batch. A record that no JSON can hold is refused here, alone."""
        good: list[CusEntry] = []
        texts: list[str] = []
        for entry in part:
            try:
                texts.append(_record_json(entry))
            except (TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
                self._refuse(entry, "unencodable", f"{type(error).__name__} while encoding", "")
            else:
                good.append(entry)
        return good, f'{{"records":[{",".join(texts)}]}}'.encode()

    def _stored(self, part: list[CusEntry], answer: CusAnswer) -> bool:
        """Take a receipt in. One that does not account for every record is none."""
        receipt = _Receipt.read(answer)
        if receipt is None or receipt.total != len(part):
            return False
        self.tally.sent += receipt.accepted
        self.tally.duplicates += receipt.duplicates
        self.tally.conflicts += receipt.conflicts
        self.tally.rejected += receipt.rejected
        self._recover()
        self._settle(part)
        for result in receipt.results:
            with self.guard:
                self._report_result(result)
        return True

    def _report_result(self, result: Any) -> None:
        if result["status"] not in (CusIngestStatus.CONFLICT, CusIngestStatus.REJECTED):
            return
        words = (str(result.get(name) or "") for name in ("code", "detail", "attr"))
        self._tell(CusRecordRefused(str(result["call_id"]), str(result["status"]), *words))

    def _narrow(self, part: list[CusEntry], answer: CusAnswer) -> list[list[CusEntry]]:
        """Halve a refused batch, so that one bad record does not hold up the others."""
        self._recover()
        if len(part) > 1:
            return _halves(part)
        self._refuse(part[0], *_first_error(answer))
        return []

    def _refuse(self, entry: CusEntry, code: str, detail: str, attr: str) -> None:
        self.tally.rejected += 1
        self._settle([entry])
        call_id = str(entry[2].call_id)
        self._tell(CusRecordRefused(call_id, CusIngestStatus.REJECTED, code, detail, attr))

    def _settle(self, entries: list[CusEntry]) -> None:
        self.buffer.settle(entries)
        with self._settled:
            self._settled_count += len(entries)
            self._settled.notify_all()

    def _wait_after(self, answer: CusAnswer) -> None:
        """Pause before the same batch goes out again: records stay ours until they are stored."""
        self.tally.retries += 1
        self._failures += 1
        if self._failures == 1:
            self._announce(answer)
        if answer.status in _BLAMES_THE_KEY:
            self._stop.wait(KEY_RETRY_SECONDS)
        elif answer.retry_after_seconds is not None:
            self._stop.wait(_spread_retry_after(answer.retry_after_seconds))
        else:
            # Only a wait that nobody asked for may be cut short, and by `flush` alone.
            self._hurry.wait(_backoff_seconds(self._failures))
            self._hurry.clear()

    def _announce(self, answer: CusAnswer) -> None:
        if answer.status in _BLAMES_THE_KEY:
            message = f"the server refuses the integration key ({answer.reason}); records are kept"
            self._tell(CusKeyRefused(message))
        else:
            message = f"telemetry is delayed ({answer.reason}); it is kept and sent later"
            self._tell(CusDeliveryDelayed(message))
        # Once an outage: a log line an attempt would fill the host's disk.
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


def _record_json(entry: CusEntry) -> str:
    process_id, number, record = entry
    data = record.to_dict()
    data["process_id"] = process_id
    data["sequence"] = number
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _halves(part: list[CusEntry]) -> list[list[CusEntry]]:
    middle = len(part) // 2
    return [part[:middle], part[middle:]]


def _first_error(answer: CusAnswer) -> tuple[str, str, str]:
    """Code, detail and attr of an error answer, whatever a proxy may have put in its place."""
    problem = answer.json()
    errors = problem.get("errors") if isinstance(problem, dict) else None
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        return (f"http_{answer.status}", answer.reason, "")
    code, detail, attr = (str(errors[0].get(name) or "") for name in ("code", "detail", "attr"))
    return code, detail, attr


def _backoff_seconds(failures: int) -> float:
    """Twice as long each time, from half to whole at random: clients must not come in step."""
    doubled = FIRST_RETRY_SECONDS * (1 << min(failures - 1, 16))
    longest = min(doubled, LONGEST_RETRY_SECONDS)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


def _spread_retry_after(seconds: float) -> float:
    wanted = min(max(seconds, SHORTEST_RETRY_AFTER_SECONDS), LONGEST_RETRY_AFTER_SECONDS)
    return wanted * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, guards nothing


_senders: "weakref.WeakSet[CusSender]" = weakref.WeakSet()


def _restart_all_in_child() -> None:
    for sender in list(_senders):
        sender.restart_in_child()


@atexit.register
def _stop_all_at_exit() -> None:
    """Send what waits, all reporters within one deadline: a dead server must not hold up an exit."""
    deadline = time.monotonic() + EXIT_SECONDS
    for sender in list(_senders):
        with sender.guard:
            sender.stop(max(deadline - time.monotonic(), 0.0))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_all_in_child)
