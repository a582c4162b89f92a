"""Small reports that the sender's thread delivers beside the records."""

import time
from typing import Protocol

from aos_sdk.cus_delivery.transport import CusAnswer, CusTransport


class CusSideReport(Protocol):
    """A small report that the sender's thread delivers beside the records."""

    def report_due(self, now: float, *, final: bool = False) -> tuple[str, bytes] | None:
        """Path and body to post now, or None; `final` at the end of a program, in full."""

    def answered(self, answer: CusAnswer, now: float) -> None:
        """Take the server's answer to the report."""


def send_due(side: CusSideReport, transport: CusTransport, *, final: bool) -> None:
    """Post what is due of one side report, until nothing is, and hand it the answers."""
    due = side.report_due(time.monotonic(), final=final)
    while due is not None:
        answer = transport.post(*due)
        side.answered(answer, time.monotonic())
        # Send the next report at once, but never the same report again.
        former, due = due, side.report_due(time.monotonic(), final=final)
        due = None if due == former else due
