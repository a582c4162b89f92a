"""`python -m benchmarks.cus_sdk [--full | --tiny] [--only PART …] [--no-peers]`: what the SDK costs its host.

In one run, beside a bare client, an empty patch and the peers that can be installed here.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.markup import escape

from benchmarks import cus_sdk_calls, cus_sdk_delivery, cus_sdk_faults, cus_sdk_imports
from benchmarks.cus_conditions import machine
from benchmarks.cus_peer_servers import NotInstallable
from benchmarks.cus_report import Section, new_console
from benchmarks.cus_sdk_calls import CallSizes
from benchmarks.cus_sdk_contestants import CONTROLS, LEASED, OURS, PEERS, Contestant
from benchmarks.cus_sdk_faults import FaultSizes
from benchmarks.cus_sdk_field import field_of
from benchmarks.cus_sizes import options_of_sizes

PARTS: Final = ("peers", "calls", "chunks", "imports", "delivery", "faults")


@dataclass(frozen=True)
class SdkSizes:
    """The amounts to measure, which determine the time of a run."""

    probe: int
    calls: CallSizes
    imports: int
    events: int
    faults: FaultSizes


DEFAULT: Final = SdkSizes(
    probe=200,
    calls=CallSizes(8, 2_000, 500, 200, 5, 10_000, 1_000),
    imports=3,
    events=20_000,
    faults=FaultSizes(200, outage_seconds=20, around_seconds=5, next_seconds=3),
)
FULL: Final = SdkSizes(
    probe=200,
    calls=CallSizes(40, 2_000, 500, 500, 21, 10_000, 1_000),
    imports=9,
    events=1_000_000,
    faults=FaultSizes(200, outage_seconds=20, around_seconds=5, next_seconds=10),
)
TINY: Final = SdkSizes(
    probe=50,
    calls=CallSizes(1, 50, 50, 20, 1, 200, 200),
    imports=1,
    events=500,
    faults=FaultSizes(50, outage_seconds=3, around_seconds=0.5, next_seconds=3),
)


def run(sizes: SdkSizes, parts: Sequence[str], peers: Sequence[Contestant]) -> int:
    """Print each part when it is done. Exit code 1 if an event was lost; speed does not count."""
    console, started = new_console(), time.monotonic()
    machine(("openai", "pydantic")).show(console)
    if sizes is TINY:
        console.print("[yellow]Tiny sizes: these figures say nothing about speed.[/]\n")
    able = _able(peers, console)
    contestants = (*CONTROLS, *OURS, LEASED, *able)
    if {"peers", "calls", "chunks"} & set(parts):
        _take_turns(contestants, sizes, parts, console)
    if "imports" in parts:
        _show(cus_sdk_imports.measure((*OURS, *able), sizes.imports), console)
    is_whole = True
    if "delivery" in parts:
        sections, is_whole = cus_sdk_delivery.measure(sizes.events)
        _show(sections, console)
    if "faults" in parts:
        _show(cus_sdk_faults.measure((*OURS, *able), sizes.faults), console)
    console.print(f"Took {time.monotonic() - started:.0f} s.")
    return 0 if is_whole else 1


def _take_turns(
    contestants: Sequence[Contestant], sizes: SdkSizes, parts: Sequence[str], console: Console
) -> None:
    with field_of(contestants, messages="chunks" in parts) as field:
        if "peers" in parts:
            _show([field.probe(sizes.probe)], console)
        if "calls" in parts:
            _show(cus_sdk_calls.measure_calls(field, contestants, sizes.calls), console)
        if "chunks" in parts:
            _show(cus_sdk_calls.measure_chunks(field, contestants, sizes.calls), console)


def _able(peers: Sequence[Contestant], console: Console) -> list[Contestant]:
    """Those that can be installed; the first time that takes some minutes."""
    able = []
    for peer in peers:
        try:
            peer.install()
        except NotInstallable as error:
            console.print(f"[yellow]Left out: {peer.title}[/]: {escape(str(error))}\n")
        else:
            able.append(peer)
    return able


def _show(sections: Sequence[Section], console: Console) -> None:
    for section in sections:
        section.show(console)


def main(arguments: list[str]) -> int:
    full = "a soak of a million events, more rounds"
    parser = options_of_sizes("make bench-sdk", __doc__, PARTS, full=full)
    parser.add_argument("--no-peers", action="store_true", help="controls and ours alone")
    options = parser.parse_args(arguments)
    sizes = FULL if options.full else TINY if options.tiny else DEFAULT
    return run(sizes, options.only, () if options.no_peers else PEERS)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
