"""One run: prepare once, measure section by section, print each as it is done."""

import os
import time
from collections.abc import Collection

from benchmarks import (
    cus_check_peer,
    cus_enforcement,
    cus_growth,
    cus_http,
    cus_ingest,
    cus_leased_decision,
    cus_peers,
    cus_scopes,
    cus_totals,
)
from benchmarks.cus_conditions import conditions
from benchmarks.cus_databases import Sender, new_database, prepare
from benchmarks.cus_fill import fill_past_year, fill_this_month
from benchmarks.cus_report import Section, new_console
from benchmarks.cus_sizes import TINY, Sizes


def run(sizes: Sizes, sections: Collection[str]) -> int:
    """All of the chosen sections, interleaved within each."""
    console, started = new_console(), time.monotonic()
    sender = prepare()
    conditions(sizes).show(console)
    if sizes is TINY:
        console.print("[yellow]Tiny sizes: these figures say nothing about speed.[/]\n")
    if "ingest" in sections:
        cus_ingest.measure(sizes, sender).show(console)
    if "http" in sections:
        cus_http.measure(sizes, sender).show(console)
    if {"totals", "growth"} & set(sections):
        filled = fill_this_month("bench_filled", sizes, sender)
        if "totals" in sections:
            cus_totals.measure(sizes, filled).show(console)
        if "growth" in sections:
            _growth(sizes, sender, filled.database).show(console)
    loads = " ".join(f"{load:.2f}" for load in os.getloadavg())
    console.print(f"Took {time.monotonic() - started:.0f} s; load average at the end {loads}.")
    return 0


def _growth(sizes: Sizes, sender: Sender, filled: str) -> Section:
    thirteenth = fill_past_year("bench_thirteenth", sizes, sender)
    fresh = new_database("bench_fresh")
    return cus_growth.measure(sizes, sender, fresh=fresh, filled=filled, thirteenth=thirteenth)


def run_enforcement(sizes: Sizes) -> int:
    """Checks over HTTP, and a peer's budget limiter."""
    console = new_console()
    sender = prepare()
    conditions(sizes).show(console)
    cus_enforcement.measure(sizes, sender).show(console)
    cus_leased_decision.measure().show(console)
    cus_check_peer.measure(sizes).show(console)
    return 0


def run_scopes(sizes: Sizes) -> int:
    """What limits at scopes cost checks and ingest."""
    console = new_console()
    sender = prepare()
    conditions(sizes).show(console)
    cus_scopes.measure(sizes, sender).show(console)
    return 0


def run_peers(sizes: Sizes) -> int:
    """Other stores of LLM calls on the same PostgreSQL."""
    console = new_console()
    sender = prepare()
    conditions(sizes).show(console)
    cus_peers.measure(sizes, sender, console).show(console)
    return 0
