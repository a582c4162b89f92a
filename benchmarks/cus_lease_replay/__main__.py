"""`make lease-replay`: the usable share of a budget, and the share of decisions by lease."""

import argparse
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

from aos_project.cus_demo.cus_trace import TraceUnreadable, read_trace, synthetic_trace
from benchmarks.cus_lease_replay.cells import MODELS, answer, questions, section_of
from benchmarks.cus_lease_replay.model import Tokens
from benchmarks.cus_report import new_console


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, help="a CSV file as `make demo` takes")
    parser.add_argument("--model", action="append", choices=MODELS, help="only this model")
    chosen = parser.parse_args(arguments)
    try:
        calls = (read_trace(chosen.trace) if chosen.trace else synthetic_trace()).calls
    except TraceUnreadable as reason:
        parser.error(str(reason))
    trace = [Tokens(call.tokens_in, call.tokens_out) for call in calls]
    asked = list(questions(chosen.model or MODELS))
    with get_context("spawn").Pool() as pool:
        outcomes = pool.starmap(answer, [(question, trace) for question in asked], chunksize=4)
    console = new_console()
    source = chosen.trace.name if chosen.trace else "a made-up trace"
    console.print(f"{len(trace):,} calls of {source}")
    section_of(asked, outcomes).show(console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
