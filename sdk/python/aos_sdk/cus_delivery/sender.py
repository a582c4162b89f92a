"""The sender: a daemon thread that polls for records and delivers them; callers never wait.

The thread ends by `stop` and with the interpreter, and by nothing else: whatever its work raises, it
pauses, longer each time, and goes on.
"""

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from aos_sdk.cus_delivery.adoption import CusAdoption
from aos_sdk.cus_delivery.buffer import CusBuffer, CusReported, CusSource
from aos_sdk.cus_delivery.delivery import CusDelivery, CusTally, OnError
from aos_sdk.cus_delivery.ended_call import CusEndedCall
from aos_sdk.cus_delivery.exit import look_after, prepare_exit
from aos_sdk.cus_delivery.recounts import CusRecounts
from aos_sdk.cus_delivery.side_reports import CusSideReport, send_due
from aos_sdk.cus_delivery.storage import CusStorage
from aos_sdk.cus_delivery.transport import CusTransport
from aos_sdk.cus_delivery.waits import CusPoll, CusRetry, CusWaits
from aos_sdk.cus_errors import CusSpoolUnavailable
from aos_sdk.cus_guard import never_die, never_raise
from aos_sdk.cus_wire import MAX_BATCH_RECORDS

# Every so many records wake the sender: otherwise a burst could overrun the buffer between polls.
_WAKE_EVERY: Final = 8_192
_ADOPTION_POLL_SECONDS: Final = 0.005
# A request takes at most this part of the queue, or a batch.
_QUEUES_TOGETHER: Final = 20
# The share of a flush's time that counting texts may take.
_RECOUNTING_SHARE: Final = 0.25


class CusSender:
    """Sends records to one server; safe to fork, to exit and to be interrupted."""

    def __init__(
        self,
        storage: CusStorage,
        make_transport: Callable[[], CusTransport],
        *,
        integration_id: str,
        batch_size: int,
        batch_interval: float,
        on_error: OnError | None = None,
    ) -> None:
        self.side_reports: list[CusSideReport] = []
        self._storage = storage
        self._make_transport = make_transport
        self._integration_id = integration_id
        self._on_error = on_error
        self.set_pace(batch_size, batch_interval)
        self._begin()
        look_after(self, durable=storage.spool is not None)

    def _begin(self) -> None:
        self.tally = CusTally()
        self.guard = never_raise(count=self.tally.count_fault)
        self._survival = never_die(count=self.tally.count_fault)
        self.buffer: CusBuffer | None = None
        self.recounts = CusRecounts(self._survival)
        self._wake_at = self._wake_every
        self._opening = threading.RLock()
        self._notices: list[CusSpoolUnavailable] = []
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._starts = CusRetry()
        self._waits = CusWaits()
        self._settled = threading.Condition()
        self._settled_count = 0
        self._transport = self._make_transport()
        self._delivery = CusDelivery(
            self._transport,
            self._waits,
            self.tally,
            integration_id=self._integration_id,
            on_error=self._on_error,
            settled=self._count_settled,
        )
        self._adoption = CusAdoption(self._storage.spool, self._delivery, self._waits, self.tally)

    def set_pace(self, batch_size: int, batch_interval: float) -> None:
        """Send when `batch_size` records (1 to 1,000) wait, at the latest after `batch_interval` s."""
        self.batch_size = min(max(batch_size, 1), MAX_BATCH_RECORDS)
        # Further records that wait go with the request that a full batch begins: a request costs
        # more than its records. Without batching, each record has a request of its own.
        # Records that are being sent wait beside a full queue, so few of a short queue go together.
        most = max(self.batch_size, self._storage.max_queue // _QUEUES_TOGETHER)
        self._most_together = min(most, MAX_BATCH_RECORDS) if self.batch_size > 1 else 1
        self.batch_interval = min(max(batch_interval, 0.01), 3_600.0)
        wake_every = min(_WAKE_EVERY, max(self._storage.max_queue // 4, 1))
        self._wake_every = 1 if self.batch_size == 1 else wake_every
        if self._wake_every == 1:
            self._wake_at = 0

    def accept(self, reported: CusReported) -> None:
        """Accept one record. Costs its caller a few microseconds and no system call."""
        buffer = self.buffer
        if (
            buffer is None
        ):  # `is None`, because truthiness would call `__len__`, which counts all records
            buffer = self._open()
        sequence = buffer.append(reported)
        if buffer is not self.buffer:
            # The buffer was discarded meanwhile, at exit. If not after all, the record is sent
            # twice, with the same call id, so it counts once.
            if isinstance(reported, CusEndedCall):
                reported.named(buffer.process_id, sequence)
            sequence = self._open().append(reported)
        if self._thread is None:
            self.ensure_running()
        # Waking the thread is the dearest step, so the thread polls; only bursts wake it.
        if not 0 < sequence < self._wake_at:
            self._wake_at = sequence + self._wake_every
            self._waits.call_for_work()

    def prepare(self) -> None:
        """Open the buffer where nobody waits, because to make a ring takes milliseconds."""
        if self.buffer is None:
            self._open()

    def ensure_running(self) -> None:
        """Start the thread, unless the thread runs already or could not be started just now."""
        if self._thread is None and self._starts.is_due(time.monotonic()):
            self._start()

    def _open(self) -> CusBuffer:
        """The buffer, which the first report in this process opens."""
        # Reentrant: a signal handler that reports meanwhile opens another buffer, which then is
        # used.
        with self._opening:
            if self.buffer is not None:
                return self.buffer
            opened, problem = self._storage.open()
            if problem is not None:
                self._notices.append(problem)
                prepare_exit(durable=False)
            return self._settle_on(opened)

    def _settle_on(self, opened: CusBuffer) -> CusBuffer:
        if self.buffer is None:
            self.buffer = opened
        else:
            opened.discard_if_empty()
        return self.buffer

    @property
    def queued(self) -> int:
        """The number of waiting records, of this process and of adopted rings."""
        return self.left() + self._adoption.queued

    def left(self) -> int:
        """The number of this process' waiting records."""
        return len(self.buffer) if self.buffer is not None else 0

    def flush(self, timeout: float) -> int:
        """Send the waiting records; return the number left, at the latest after `timeout` s.

        Does not wait for records that are set aside, or for records of other processes.
        """
        buffer = self.buffer
        if buffer is None:
            return 0
        waiting = len(buffer) - self._delivery.waits_aside(buffer)
        if waiting <= 0 or threading.current_thread() is self._thread:
            return len(buffer)
        goal = self._settled_count + waiting
        with self.recounts.hurry(timeout * _RECOUNTING_SHARE):
            self._go()
            with self._settled:
                self._settled.wait_for(lambda: self._has_settled(buffer, goal), max(timeout, 0.0))
        return len(buffer)

    def _has_settled(self, buffer: CusBuffer, goal: int) -> bool:
        # Under steady traffic the buffer may never be empty, so count the records that are settled.
        done = self._settled_count >= goal
        return done or len(buffer) <= self._delivery.waits_aside(buffer)

    def _count_settled(self, source: CusSource, number: int) -> None:
        with self._settled:
            if source is self.buffer:
                self._settled_count += number
            self._settled.notify_all()

    def hurry_up(self) -> None:
        """Make the thread send the waiting records now, in the largest batches; do not wait."""
        self.batch_size = self._most_together = MAX_BATCH_RECORDS
        self._delivery.announcements.always = True
        if self.left():
            self._go()

    def _go(self) -> None:
        if self._thread is None:
            self._start()
        self._waits.call_in_haste()

    def stop(self, timeout: float, *, adopt: bool = False) -> int:
        """Flush, then end the thread; a later record starts it anew. Return the number left.

        With `adopt`, also send the records that dead processes left, as far as there is time.
        """
        deadline = time.monotonic() + timeout
        left = self.flush(timeout)
        if adopt:
            self._finish_adopting(deadline)
        thread = self._thread
        self._waits.stop()
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(deadline - time.monotonic(), 0.0))
        return left

    def _finish_adopting(self, deadline: float) -> None:
        # Short-lived programs would otherwise all leave these records to the next program.
        if self._is_adopting():
            self._waits.call_in_haste()
        while self._is_adopting() and time.monotonic() < deadline:
            time.sleep(_ADOPTION_POLL_SECONDS)

    def _is_adopting(self) -> bool:
        return self._thread is not None and self._adoption.goes_on()

    def discard_if_empty(self) -> None:
        """At exit: remove an empty file. A report after this opens a new buffer."""
        # Unset before the check: a thread that appends afterwards checks whether it is still set.
        buffer, self.buffer = self.buffer, None
        if buffer is not None and not buffer.discard_if_empty() and self.buffer is None:
            # Otherwise a report has opened another buffer, and the next process adopts this one.
            self.buffer = buffer

    def release_adopted(self) -> None:
        """Leave the rings that were adopted, and are not sent, to other processes. Call `stop` before."""
        self._adoption.release()

    def restart_in_child(self) -> None:
        """Begin anew after a fork: the child has no thread, and the parent sends the records."""
        for source in (self.buffer, *self._adoption.rings):
            if source is not None:
                with self.guard:
                    source.abandon()
        self._transport.abandon()
        self._begin()

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # Another thread starts it, or the code that this thread has interrupted.
        try:
            if self._thread is not None:
                return
            self._waits.stopping = False
            self._thread = threading.Thread(target=self._run, name="aos-sdk-sender", daemon=True)
            self._thread.start()
            self._starts.worked()
        except BaseException:
            # There is no thread, as at the interpreter's end; or Ctrl-C came while it started, and
            # it ends by itself, because it is no longer the sender's. A later record tries again.
            self._thread = None
            self._starts.failed(time.monotonic())
            raise
        finally:
            self._starting.release()
        buffer = self.buffer
        # Before the first record there is no buffer; it will be a ring if a spool is configured.
        wants_ring = self._storage.spool is not None
        prepare_exit(durable=wants_ring if buffer is None else buffer.durable)

    def _run(self) -> None:
        thread = threading.current_thread()
        try:
            self._work(thread)
        finally:
            if self._thread is thread:
                self._thread = None
                if not self._waits.stopping:
                    self._starts.failed(time.monotonic())

    def _work(self, thread: threading.Thread) -> None:
        poll, failures = CusPoll(time.monotonic()), 0
        while self._thread is thread and not self._waits.stopping and not sys.is_finalizing():
            has_looked = self._survives(partial(self._wait_and_look, poll))
            if self._send_side_reports() and has_looked:
                failures = 0
                continue
            failures += 1
            self._survives(partial(self._waits.after_failure, failures))
        if self._thread is thread:
            self._send_side_reports(final=True)
            self._survives(self._transport.close)

    def _survives(self, step: Callable[[], object]) -> bool:
        """Run a step of the thread's; return whether it raised nothing."""
        with self._survival:
            step()
            return True
        return False

    def _send_side_reports(self, *, final: bool = False) -> bool:
        """Send the side reports that are due; return whether none raised anything."""
        sides = list(self.side_reports)
        sent = [
            self._survives(partial(send_due, side, self._transport, final=final)) for side in sides
        ]
        return all(sent)

    def _wait_and_look(self, poll: CusPoll) -> None:
        self._look(poll, called=self._waits.for_work(poll.seconds))

    def _look(self, poll: CusPoll, *, called: bool) -> None:
        self._give_notice()
        waiting = self.left()
        due = called or poll.is_due(time.monotonic(), self.batch_interval)
        self._delivery.retry_set_aside()
        if waiting >= self.batch_size or (waiting and due):
            self._drain(everything=due)
        self._adoption.adopt_next()
        self._adoption.drain()
        if not waiting:
            self.recounts.forget_old()
        poll.looked(
            time.monotonic(),
            waiting,
            emptied=due,
            batch=self.batch_size,
            interval=self.batch_interval,
        )

    def _give_notice(self) -> None:
        while self._notices:
            self._delivery.complain(self._notices.pop(0))

    def _drain(self, *, everything: bool) -> None:
        buffer = self.buffer
        while buffer is not None and not self._waits.stopping:
            entries = self._delivery.next_entries(buffer, self._most_together)
            if not entries or (len(entries) < self.batch_size and not everything):
                return
            self._delivery.deliver(buffer, self.recounts.applied(entries, buffer))
