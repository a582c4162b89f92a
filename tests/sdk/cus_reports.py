"""What tests of delivery report with, and wait by."""

import time
from collections.abc import Callable
from typing import Any

from aos_sdk import CusReporter, CusUsageRecord

# Before a program whose records must have arrived when it has ended: a busy machine may take longer
# than the part of a second that an exit has.
PATIENT = "from aos_sdk.cus_delivery import exit as cus_exit; cus_exit.EXIT_SECONDS = 30.0\n"


def cus_record(number: int, **changes: Any) -> CusUsageRecord:
    return CusUsageRecord(f"call-{number}", "gpt-4o", 10, 5, 1, **changes)


def cus_report(reporter: CusReporter, count: int) -> list[str]:
    for number in range(count):
        reporter.report(cus_record(number))
    return [f"call-{number}" for number in range(count)]


def cus_eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def cus_nested(levels: int) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for _ in range(levels - 1):
        nested = {"in": nested}
    return nested
