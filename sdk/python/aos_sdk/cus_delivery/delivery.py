"""Deliver a batch until every record of it is settled, in parts if the server refuses it whole.

Records are sent at least once under one `call_id`, by which the server deduplicates: so each counts
exactly once.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aos_sdk.cus_delivery.announcements import CusAnnouncements, CusNews
from aos_sdk.cus_delivery.buffer import CusEntry, CusSource
from aos_sdk.cus_delivery.ring_buffer import CusAdoptedRing
from aos_sdk.cus_delivery.transport import CusAnswer, CusReceipt, CusTransport, first_error
from aos_sdk.cus_delivery.waits import CusWaits, in_breaths
from aos_sdk.cus_errors import (
    CusDeliveryDelayed,
    CusDeliveryError,
    CusKeyRefused,
    CusRecordRefused,
)
from aos_sdk.cus_guard import never_die
from aos_sdk.cus_wire import MAX_BATCH_BYTES, CusIngestStatus

logger = logging.getLogger("aos_sdk")

# If the server fails so often in a row on a batch, the batch is halved, to find the record at
# fault. A single record is set aside after as many failures, so that the others pass.
FAILURES_BEFORE_HALVING: Final = 3
FAILURES_BEFORE_SETTING_ASIDE: Final = 5
FIRST_ASIDE_SECONDS: Final = 60.0
LONGEST_ASIDE_SECONDS: Final = 3_600.0
# A server that fails on more records than this fails on all, so no further record is set aside.
MOST_ASIDE: Final = 100

# These statuses blame the body, so the sender looks for the record at fault. Every other refusal (a
# 404 from a half-deployed server, a proxy's 405) concerns the route, so the records must wait.
_BLAMES_A_RECORD: Final = frozenset({400, 409, 413, 422})
_BLAMES_THE_KEY: Final = frozenset({401, 403})
# The server failed, perhaps because of a record of ours. 502, 503 and 504 mean that it is away.
_FAILED: Final = 500

OnError = Callable[[CusDeliveryError], object]
_Name = tuple[str, int]


@dataclass(slots=True)
class CusTally:
    """Counts of records by outcome. Only the sender's thread writes them, except for `faults`."""

    sent: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    adopted: int = 0
    retries: int = 0
    faults: int = 0

    def count_fault(self) -> None:
        self.faults += 1


@dataclass(slots=True)
class _Part:
    """Records of one source that are sent together, and the server's failures in a row."""

    source: CusSource
    entries: list[CusEntry]
    failures: int = 0

    def halves(self) -> "list[_Part]":
        middle = len(self.entries) // 2
        parts = (self.entries[:middle], self.entries[middle:])
        return [_Part(self.source, entries) for entries in parts]


@dataclass(slots=True)
class _Aside:
    """A record on which the server fails: it is sent alone, at growing intervals."""

    source: CusSource
    entry: CusEntry
    delay_seconds: float
    due: float


class CusDelivery:
    """Sends records to the server and settles them. Only the sender's thread uses this."""

    def __init__(
        self,
        transport: CusTransport,
        waits: CusWaits,
        tally: CusTally,
        *,
        integration_id: str,
        on_error: OnError | None,
        settled: Callable[[CusSource, int], None],
    ) -> None:
        self.announcements = CusAnnouncements()
        # Rings of dead processes without records left that dropped some: their announcements go out
        # with batches of other processes.
        self.orphans: list[CusAdoptedRing] = []
        self._transport = transport
        self._waits = waits
        self._tally = tally
        self._integration_id = integration_id
        self._on_error = on_error
        self._tell_settled = settled
        self._guard = never_die(count=tally.count_fault)
        self._failures = 0
        self._aside: dict[_Name, _Aside] = {}

    @property
    def is_failing(self) -> bool:
        """Whether the last request failed, so that the next may, too."""
        return self._failures > 0

    def waits_aside(self, source: CusSource) -> int:
        """The number of a source's records that are set aside."""
        return sum(aside.source is source for aside in list(self._aside.values()))

    def next_entries(self, source: CusSource, limit: int) -> list[CusEntry]:
        """The oldest records of a source that are not set aside."""
        taken = source.take(limit + len(self._aside))
        return [entry for entry in taken if entry[:2] not in self._aside][:limit]

    def deliver(self, source: CusSource, entries: list[CusEntry]) -> None:
        """Send a batch until every record of it is settled or set aside, or the program stops.

        A part that must be sent again goes behind the other parts.
        """
        parts = deque([_Part(source, entries)])
        while parts and not self._waits.stopping:
            parts += self._attempt(parts.popleft())

    def retry_set_aside(self) -> None:
        """Send records again on which the server failed, if they are due."""
        now = time.monotonic()
        for aside in [aside for aside in self._aside.values() if aside.due <= now]:
            self.deliver(aside.source, [aside.entry])

    def complain(self, error: CusDeliveryError) -> None:
        """Log the error, and call `on_error`."""
        self._tell(error)
        with self._guard:  # The program's handlers of logs may raise anything.
            logger.warning("%s", error)

    def _attempt(self, part: _Part) -> list[_Part]:
        """Send one part; return the parts of it to send again."""
        orphan = self.orphans[0] if self.orphans else None
        news = self.announcements.of(part.source, part.entries[-1].sequence)
        if news is None and orphan is not None:
            news = self.announcements.of(orphan, orphan.last_sequence)
        body = self._encode(part, news.members() if news else b"")
        if not part.entries:
            return []
        if len(body) > MAX_BATCH_BYTES and len(part.entries) > 1:
            return part.halves()
        answer = self._transport.post_batch(body)
        if self._stored(part, answer):
            if news:
                self._announced(news)
            return []
        if answer.status in _BLAMES_A_RECORD:
            return self._narrow(part, answer)
        if answer.status == _FAILED and answer.retry_after_seconds is None:
            return self._isolate(part, answer)
        part.failures = 0
        self._wait_after(answer)
        return [part]

    def _announced(self, news: CusNews) -> None:
        self.announcements.arrived(news)
        for orphan in [ring for ring in self.orphans if ring.process_id == news.process_id]:
            self.orphans.remove(orphan)
            orphan.finish()

    def _encode(self, part: _Part, news: bytes) -> bytes:
        """The body of a batch. Refuses, alone, each record that can't be encoded."""
        good: list[CusEntry] = []
        texts: list[bytes] = []
        for entry in in_breaths(part.entries, len(part.source)):
            text = self._to_json(entry)
            if isinstance(text, bytes):
                good.append(entry)
                texts.append(text)
            else:
                # Outside of the handler, so that a log of `on_error` does not show our exception.
                self._refuse(part.source, entry, "unencodable", f"{text} while encoding", "")
        part.entries = good
        return b'{%b"records":[%b]}' % (news, b",".join(texts))

    def _to_json(self, entry: CusEntry, *, again: bool = True) -> bytes | str:
        """The record's JSON, or the name of the exception that its values raise."""
        try:
            return entry.to_json(self._integration_id)
        except BaseException as error:  # noqa: BLE001 - the record's fault, not ours
            # What is no `Exception` may have been aimed at this thread; not if it comes twice.
            if isinstance(error, Exception) or not again:
                return type(error).__name__
        return self._to_json(entry, again=False)

    def _stored(self, part: _Part, answer: CusAnswer) -> bool:
        """Apply a receipt. An answer that does not account for every record is not a receipt."""
        receipt = CusReceipt.read(answer)
        if receipt is None or receipt.total != len(part.entries):
            return False
        self._tally.sent += receipt.accepted
        self._tally.duplicates += receipt.duplicates
        self._tally.conflicts += receipt.conflicts
        self._tally.rejected += receipt.rejected
        self._recover()
        self._settle(part.source, part.entries)
        for result in receipt.results:
            with self._guard:
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
        self._refuse(part.source, part.entries[0], *first_error(answer))
        return []

    def _refuse(
        self, source: CusSource, entry: CusEntry, code: str, detail: str, attr: str
    ) -> None:
        self._tally.rejected += 1
        call_id = self._name_of(entry)
        self._settle(source, [entry], refused=True)
        self._tell(CusRecordRefused(call_id, CusIngestStatus.REJECTED, code, detail, attr))

    def _name_of(self, entry: CusEntry) -> str:
        with self._guard:
            return entry.call_id
        return "?"

    def _settle(self, source: CusSource, entries: list[CusEntry], *, refused: bool = False) -> None:
        source.settle(entries, refused=refused)
        asides = [self._aside.pop(entry[:2], None) for entry in entries]
        self._tell_settled(source, asides.count(None))

    def _isolate(self, part: _Part, answer: CusAnswer) -> list[_Part]:
        """Find the record that the server fails on, and set it aside."""
        part.failures += 1
        if part.entries[0][:2] in self._aside:
            self._set_aside(part, answer)
            return []
        self._wait_after(answer)
        if len(part.entries) > 1:
            return part.halves() if part.failures >= FAILURES_BEFORE_HALVING else [part]
        if part.failures < FAILURES_BEFORE_SETTING_ASIDE or len(self._aside) >= MOST_ASIDE:
            return [part]
        self._set_aside(part, answer)
        return []

    def _set_aside(self, part: _Part, answer: CusAnswer) -> None:
        entry = part.entries[0]
        former = self._aside.get(entry[:2])
        delay = FIRST_ASIDE_SECONDS
        if former:
            self._tally.retries += 1
            delay = min(former.delay_seconds * 2, LONGEST_ASIDE_SECONDS)
        else:
            message = (
                f"the server fails on usage record {self._name_of(entry)} ({answer.reason}); "
                "the record is kept and sent again later, after the others"
            )
            self.complain(CusDeliveryDelayed(message))
        self._aside[entry[:2]] = _Aside(part.source, entry, delay, time.monotonic() + delay)
        self._tell_settled(part.source, 0)

    def _wait_after(self, answer: CusAnswer) -> None:
        """Pause before the next request. Records are kept until they are stored."""
        self._tally.retries += 1
        self._failures += 1
        if self._failures == 1:
            self._announce(answer)
        if answer.status in _BLAMES_THE_KEY:
            self._waits.for_a_key()
        elif answer.retry_after_seconds is not None:
            self._waits.as_asked(answer.retry_after_seconds)
        else:
            self._waits.after_failure(self._failures)

    def _announce(self, answer: CusAnswer) -> None:
        # Once for each outage: a log line for each attempt would fill the host's disk.
        if answer.status in _BLAMES_THE_KEY:
            message = f"the server refuses the integration key ({answer.reason}); records are kept"
            self.complain(CusKeyRefused(message))
        else:
            message = f"telemetry is delayed ({answer.reason}); records are kept and sent later"
            self.complain(CusDeliveryDelayed(message))

    def _recover(self) -> None:
        if self._failures:
            with self._guard:
                logger.info("telemetry is delivered again")
        self._failures = 0

    def _tell(self, error: CusDeliveryError) -> None:
        if self._on_error is None:
            return
        with self._guard:
            self._on_error(error)
