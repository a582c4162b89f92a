"""`make trust-abuse`: the product's users' enemies, scripted, on servers of its own.

`python -m tests.trust.cus_abuse_campaign [--scale 0.1] [--only floods races …] [--races 1000]`
prints each attack with its figures before the mends (`cus_abuse/before.json`) and now, and a
verdict. The exit code is 0 if the product held everywhere, 1 if not.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

from tests.trust.cus_abuse import (
    credentials,
    database,
    floods,
    holds,
    money,
    proof,
    quotas,
    requests,
    resets,
)
from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.product import AttackedProduct
from tests.trust.cus_abuse.races import lying_races

_BEFORE = Path(__file__).with_name("cus_abuse") / "before.json"
Attack = Callable[[AttackedProduct, Size], Outcome]


@dataclass(frozen=True)
class Named:
    """An attack, and the group that `--only` names it by."""

    group: str
    attack: Attack


ATTACKS: Mapping[str, Named] = {
    "holds flood": Named("money", holds.holds_flood),
    "sibling's key": Named("money", money.sibling),
    "understating": Named("money", money.understated),
    "credential redirected": Named("credentials", credentials.redirected),
    "addresses misspelt": Named("credentials", credentials.spellings),
    "session left open": Named("people", proof.old_session),
    "things without end": Named("people", quotas.without_end),
    "21 reset mails": Named("people", resets.reset_mails),
    "application's login": Named("database", database.by_sql),
    "deep bodies": Named("requests", requests.deep_bodies),
    "bad hosts": Named("requests", requests.bad_hosts),
    "flood of logins": Named("floods", floods.logins),
    "flood of logins at a closed address": Named("floods", floods.closed_logins),
    "flood of strangers": Named("floods", floods.strangers),
    "flood of wrong keys": Named("floods", floods.wrong_keys),
    "flood of probes": Named("floods", floods.probes),
    "flood of slow sockets": Named("floods", floods.sockets),
    "flood of batches": Named("floods", floods.batches),
    "flood of reset mails": Named("floods", floods.resets),
    "lying races": Named("races", lying_races),
}
_SHOWN = 10
# How the product's answers, or their absence, can end an attack's script.
_BROKEN = (
    AssertionError,
    LookupError,
    ValueError,
    OSError,
    HTTPException,
    subprocess.SubprocessError,
    psycopg.Error,
)
_GROUPS = tuple(dict.fromkeys(named.group for named in ATTACKS.values()))


def main(arguments: list[str]) -> int:
    """Make the chosen attacks, each on a product that the others left as it is."""
    options = _options(arguments)
    console = Console()
    before = json.loads(_BEFORE.read_text())
    outcomes: dict[str, Outcome] = {}
    with AttackedProduct() as product:
        for name, named in ATTACKS.items():
            if named.group not in options.only:
                continue
            scale = options.races / 1_000 if named.group == "races" else options.scale
            size = Size(scale=scale, say=_sayer(console, name))
            started = time.monotonic()
            outcomes[name] = _made(named.attack, product, size)
            verdict = "held" if outcomes[name].held else "OPEN"
            _print(console, f"{name}: {verdict} after {time.monotonic() - started:.0f} s")
    console.print(_table(before, outcomes))
    _print(console, f"before: {before['release']}; {before['machine']}")
    for name, outcome in outcomes.items():
        for finding in outcome.findings[:_SHOWN]:
            _print(console, f"FOUND by {name}: {finding}")
        if more := outcome.findings[_SHOWN:]:
            _print(console, f"FOUND by {name}: and {len(more)} more")
    if options.write:
        _write(options.write, before, outcomes)
    return 0 if all(outcome.held for outcome in outcomes.values()) else 1


def _made(attack: Attack, product: AttackedProduct, size: Size) -> Outcome:
    """What an attack came to; one that can't be made shows nothing, so the product did not hold."""
    try:
        return attack(product, size)
    except _BROKEN as error:
        text = f"{type(error).__name__}: {error}"
        return Outcome("broke off", [f"the attack broke off: {text[:500]}"])


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make trust-abuse")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full size")
    parser.add_argument("--races", type=int, default=1_000, help="races with liars")
    parser.add_argument("--only", nargs="*", choices=_GROUPS, default=_GROUPS)
    parser.add_argument("--write", type=Path, help="keep the figures in this file, as before.json")
    return parser.parse_args(arguments)


def _table(before: Mapping[str, dict[str, str]], outcomes: Mapping[str, Outcome]) -> Table:
    table = Table("attack", "before", "now", "verdict", title="trust-abuse", show_lines=True)
    for name, outcome in outcomes.items():
        then = before["attacks"].get(name, "not measured")
        table.add_row(name, then, outcome.figures, "held" if outcome.held else "OPEN")
    return table


def _write(path: Path, before: Mapping[str, object], outcomes: Mapping[str, Outcome]) -> None:
    figures = {name: outcome.figures for name, outcome in outcomes.items()}
    kept = before["attacks"]
    assert isinstance(kept, dict)
    path.write_text(json.dumps({**before, "attacks": kept | figures}, indent=2) + "\n")


def _sayer(console: Console, name: str) -> Callable[[str], None]:
    last = [0.0]

    def say(text: str) -> None:
        # Once every five seconds will do.
        if time.monotonic() - last[0] > 5:
            last[0] = time.monotonic()
            _print(console, f"{name}: {text}")

    return say


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
