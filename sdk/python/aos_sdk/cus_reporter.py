"""The reporter: sends a program's usage records to the server."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Unpack

from aos_sdk.cus_delivery.buffer import CusReported
from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.delivery import OnError
from aos_sdk.cus_delivery.ended_call import CusEndedCall
from aos_sdk.cus_delivery.sender import CusSender
from aos_sdk.cus_delivery.side_reports import CusSideReport
from aos_sdk.cus_delivery.spool import STATE_DIRECTORY, CusSpool, spool_folder
from aos_sdk.cus_delivery.storage import CusStorage
from aos_sdk.cus_delivery.transport import CusTransport
from aos_sdk.cus_errors import CusConfigurationError, CusDeliveryError
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_record import CusUsageRecord
from aos_sdk.cus_tracker import CusCallTracker, CusTrackerOptions
from aos_sdk.cus_wire import DROPPED_FULL

if TYPE_CHECKING:
    from aos_sdk.cus_enforcing.asked import CusEnforcing
    from aos_sdk.cus_enforcing.decider import CusDecider
    from aos_sdk.cus_enforcing.gate import CusGate

logger = logging.getLogger("aos_sdk")

DEFAULT_BATCH_SIZE: Final = 50
DEFAULT_BATCH_INTERVAL_SECONDS: Final = 5.0
DEFAULT_MAX_QUEUE: Final = 65_536

_logged_problems: set[str] = set()


@dataclass(frozen=True, slots=True)
class CusReporterStats:
    """Counts of the records that this process reported or adopted, by outcome.

    `queued` still wait; `sent` were stored; `duplicates` were stored before; `conflicts` and
    `rejected` were refused; `dropped` made room for newer records. Their sum is the number of
    reported and of `adopted` records; adopted records are those that dead processes of this host
    left. `retries` counts requests, and `faults` counts the SDK's own errors, which never reach the
    program.
    """

    queued: int = 0
    sent: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    dropped: int = 0
    adopted: int = 0
    retries: int = 0
    faults: int = 0


class CusReporter:
    """Reports usage records in the background; costs its caller microseconds and never raises.

    `on_error` is called in the sender's thread with a CusDeliveryError: once when an outage
    begins, and for every record that the server refuses. Without a usable key or address the
    reporter logs a warning once and does nothing; `problem` then has the reason.
    """

    def __init__(  # noqa: PLR0913 - the public surface, each argument by its name
        self,
        integration_key: str | None = None,
        base_url: str | None = None,
        timeout: float = 10.0,
        on_error: OnError | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        batch_interval: float = DEFAULT_BATCH_INTERVAL_SECONDS,
        max_queue: int = DEFAULT_MAX_QUEUE,
        spool_dir: str | os.PathLike[str] | None = STATE_DIRECTORY,
    ) -> None:
        """Key and address come from CUS_INTEGRATION_KEY and AOS_BASE_URL if unset.

        `spool_dir` is the folder in which records wait, so that no crash loses them. If unset, it
        is CUS_SPOOL_DIR or else a private folder below the user's state directory. None keeps
        records in memory.
        """
        self.problem: str | None = None
        self._faults_without_sender = 0
        self._sender: CusSender | None = None
        self._connection: CusConnection | None = None
        self._spool: CusSpool | None = None
        self._on_error = on_error
        self._decider: CusDecider | None = None
        self._gates: dict[CusEnforcing, CusGate] = {}
        self.guard = never_raise(count=self._count_fault)
        try:
            self._connection = CusConnection.resolve(integration_key, base_url)
        except (CusConfigurationError, ValueError) as error:
            self._stay_inert(error)
            return
        folder = spool_folder(spool_dir)
        spool = CusSpool(folder, self._connection) if folder else None
        self._spool = spool
        self._sender = CusSender(
            CusStorage(spool, max_queue),
            partial(CusTransport, self._connection, timeout),
            integration_id=self._connection.key.integration_id,
            batch_size=batch_size,
            batch_interval=batch_interval,
            on_error=on_error,
        )

    def _stay_inert(self, error: Exception) -> None:
        # A ValueError comes from an address that can't be parsed, and its text may quote the
        # address.
        known = isinstance(error, CusConfigurationError)
        self.problem = str(error) if known else "AOS_BASE_URL cannot be read as an address"
        if self.problem not in _logged_problems:
            _logged_problems.add(self.problem)
            logger.warning("usage is not reported: %s", self.problem)

    @property
    def tenant_id(self) -> str | None:
        return self._connection.key.tenant_id if self._connection else None

    @property
    def integration_id(self) -> str | None:
        return self._connection.key.integration_id if self._connection else None

    @property
    def decider(self) -> "CusDecider | None":
        """Decides on calls of the reporter's integration; None without a usable key."""
        if self._decider is None and self._connection is not None:
            from aos_sdk.cus_enforcing.decider import CusDecider

            self._decider = CusDecider(self._connection, self._spool, self._count_fault, self._tell)
        return self._decider

    def gate(self, enforcing: "CusEnforcing | None") -> "CusGate | None":
        """The gate of captured calls; None where nothing is enforced."""
        decider = self.decider if enforcing is not None else None
        if enforcing is None or decider is None or self._sender is None:
            return None
        gate = self._gates.get(enforcing)
        if gate is None:
            from aos_sdk.cus_enforcing.gate import CusGate

            made = CusGate(decider, enforcing, self.guard, self._sender.prepare)
            gate = self._gates.setdefault(enforcing, made)
        return gate

    def _tell(self, error: CusDeliveryError) -> None:
        with self.guard:
            logger.warning("%s", error)
            if self._on_error is not None:
                self._on_error(error)

    @property
    def stats(self) -> CusReporterStats:
        """A snapshot of the counters; see CusReporterStats."""
        if self._sender is None:
            return CusReporterStats(faults=self._faults_without_sender)
        tally, buffer = self._sender.tally, self._sender.buffer
        return CusReporterStats(
            queued=self._sender.queued,
            sent=tally.sent,
            duplicates=tally.duplicates,
            conflicts=tally.conflicts,
            rejected=tally.rejected,
            dropped=buffer.dropped.get(DROPPED_FULL, 0) if buffer is not None else 0,
            adopted=tally.adopted,
            retries=tally.retries,
            faults=tally.faults,
        )

    @property
    def durable(self) -> bool:
        """Whether the waiting records survive the process; False also before the first report."""
        buffer = self._sender.buffer if self._sender is not None else None
        return buffer is not None and buffer.durable

    def add_side_report(self, side: CusSideReport) -> Callable[[], object]:
        """Deliver `side` beside the records; call the returned function when it has a report."""
        if self._sender is None:
            return int
        self._sender.side_reports.append(side)
        return self._sender.ensure_running

    def report(self, record: CusUsageRecord) -> None:
        """Deliver one record. Do not change the record afterwards."""
        self._accept(record)

    def report_call(self, call: CusEndedCall) -> None:
        """Report an ended call, as it is now.

        The sender's thread makes the record if one is needed, so that it costs the program nothing.
        """
        if type(self).report is not _REPORT or "report" in self.__dict__:
            # A program that has replaced `report` must get every record there.
            self.report(call.record())
        else:
            if call.recount is not None and self._sender is not None:
                with self.guard:
                    self._sender.recounts.keep(call)
            self._accept(call)

    def _accept(self, reported: CusReported) -> None:
        sender = self._sender
        if sender is None:
            return
        try:
            sender.accept(reported)
        except Exception as error:  # noqa: BLE001 - as the guard does
            self.guard.swallow(error)

    def track_call(
        self, provider: str, model: str, **options: Unpack[CusTrackerOptions]
    ) -> CusCallTracker:
        """Measure and report the call in a `with` block. Takes what `CusCallTracker` does."""
        return CusCallTracker(self, provider, model, **options)

    def enable_batching(
        self,
        max_size: int = DEFAULT_BATCH_SIZE,
        flush_interval_seconds: float = DEFAULT_BATCH_INTERVAL_SECONDS,
    ) -> None:
        """Send every `max_size` records, at the latest after `flush_interval_seconds`."""
        if self._sender is not None:
            self._sender.set_pace(max_size, flush_interval_seconds)

    def disable_batching(self) -> None:
        """Send every record as soon as it is reported, still in the background."""
        if self._sender is not None:
            self._sender.set_pace(1, self._sender.batch_interval)

    def flush(self, timeout: float = 5.0) -> int:
        """Send the waiting records; return the number left, within `timeout` seconds."""
        if self._sender is None:
            return 0
        with self.guard:
            return self._sender.flush(timeout)
        return self._sender.left()

    def shutdown(self, timeout: float = 5.0) -> int:
        """Flush and end the background thread, within `timeout` seconds; return the number left.

        What is left stays where it is: another `flush` or report takes delivery up again, and
        from a ring the next process of this host.
        """
        if self._sender is None:
            return 0
        with self.guard:
            return self._sender.stop(timeout)
        return self._sender.left()

    def _count_fault(self) -> None:
        if self._sender is None:
            self._faults_without_sender += 1
            return
        self._sender.tally.count_fault()

    def __repr__(self) -> str:
        if self._connection is None:
            return "CusReporter(inert)"
        key = self._connection.key
        return f"CusReporter(tenant_id={key.tenant_id!r}, integration_id={key.integration_id!r})"


_REPORT: Final = CusReporter.report
