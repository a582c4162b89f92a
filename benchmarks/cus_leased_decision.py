"""`python -m benchmarks.cus_leased_decision`: what a decision costs a call of the SDK.

The gate alone, without a provider's client: where nothing limits a call, where a lease has room, and
where a server on this machine is asked, which answers at once.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter_ns, sleep
from typing import Any

from aos_sdk import CusCallTracker, cus_configure, cus_shutdown
from aos_sdk.cus_configuration import active
from aos_sdk.cus_wire import CusOperation
from benchmarks.cus_conditions import machine
from benchmarks.cus_report import Section, new_console
from benchmarks.cus_rounds import percentile
from benchmarks.cus_sdk_client import MESSAGES, MODEL
from benchmarks.cus_sdk_setups import KEY, LIMITED_KEY
from benchmarks.cus_sdk_sink import Sink
from benchmarks.cus_targets import LEASED_DECISION

_CALLS = 20_000
_CHECKS = 500


def main() -> int:
    console = new_console()
    machine(("urllib3",)).show(console)
    measure().show(console)
    return 0


def measure() -> Section:
    """Microseconds of a decision, in its own thread."""
    section = Section("The SDK's decision on a call, us", ("decided by", "p50", "p99", "target"))
    for title, key, mode, calls in (
        ("nothing: no limit", KEY, "auto", _CALLS),
        ("a lease, with its file", LIMITED_KEY, "auto", _CALLS),
        ("a check of a server that does nothing", LIMITED_KEY, "check", _CHECKS),
    ):
        with _program(key, mode) as decide:
            times = sorted(_times(decide, calls))
        is_leased = title.startswith("a lease")
        p50, p99 = (percentile(times, part) / 1_000 for part in (0.5, 0.99))
        verdict = LEASED_DECISION.verdict(p50) if is_leased else ""
        section.rows.append((title, f"{p50:,.2f}", f"{p99:,.2f}", verdict))
    section.notes.append("From the request's arguments to the permission to begin, and its end.")
    return section


def _times(decide: Callable[[], object], calls: int) -> Iterator[int]:
    for _ in range(calls):
        began = perf_counter_ns()
        decide()
        yield perf_counter_ns() - began


@contextmanager
def _program(key: str, mode: Any) -> Iterator[Callable[[], object]]:
    """A program whose calls the sink's server governs: decides on one call."""
    with Sink() as sink, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as spool:
        reporter = cus_configure(key, sink.url, spool_dir=spool, enforce=mode)
        gate = active.get().gate
        assert gate is not None
        assert reporter.decider is not None
        decider = reporter.decider
        arguments = {"model": MODEL, "messages": MESSAGES, "max_tokens": 100}
        call = CusCallTracker(reporter, "openai", MODEL, operation=CusOperation.CHAT)

        def decide() -> None:
            call.call_id, call.arguments = None, arguments
            gate.enter(call)
            gate.leave(call)
            call.admitted = call.reserved = None

        for _ in range(500):
            decide()
            if gate.is_open() or decider.book.current is not None or mode == "check":
                break
            sleep(0.01)
        yield decide
        cus_shutdown()


if __name__ == "__main__":
    raise SystemExit(main())
