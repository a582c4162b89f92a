"""`make test-frameworks`: the frameworks by which programs call providers, bare and governed.

Each framework runs in an environment of its own, against a local server in the providers' place. Of
each use there must be one record a request, with the model and the tokens that the server told, and
the framework's own output must be the same as without the SDK.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from tests.frameworks.cus_environments import NotInstallable, lock, python_of
from tests.frameworks.cus_table import (
    DOCUMENT,
    FRAMEWORKS,
    Known,
    keep_known,
    known,
    needed,
    table,
)
from tests.frameworks.cus_trial import Cell, Trial, TrialFailed, tried


def main(arguments: Sequence[str] | None = None) -> int:
    """Install and try; 1 if a cell is wrong and not explained, or if the documentation differs."""
    options = _options(arguments)
    chosen = [name for name in FRAMEWORKS if not options.only or name in options.only]
    if options.lock:
        lock(chosen)
    trials, missing, failed = _trials(chosen)
    explanations = list(needed(known(), trials)) if options.write else known()
    problems = [*failed, *_problems(trials, explanations)]
    document = DOCUMENT.read_text(encoding="utf-8")
    made = table(trials, explanations, document)
    if options.write:
        keep_known(explanations)
        DOCUMENT.write_text(made, encoding="utf-8")
    elif made != document:
        problems.append(
            "docs/sdk.md shows another table; write it by make test-frameworks ARGS=--write"
        )
    for line in (*missing, *problems):
        _say(line)
    _say(f"{len(trials)} of {len(chosen)} frameworks were tried, {len(problems)} problems.")
    return 1 if problems or not chosen else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-frameworks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=FRAMEWORKS, help="these frameworks alone")
    parser.add_argument("--lock", action="store_true", help="pin the newest releases first")
    parser.add_argument("--write", action="store_true", help="write the table into docs/sdk.md")
    return parser.parse_args(arguments)


def _trials(chosen: Sequence[str]) -> tuple[list[Trial], list[str], list[str]]:
    """The trials; the frameworks that could not be installed; and those that did not run."""
    trials, missing, failed = [], [], []
    for framework in chosen:
        began = time.monotonic()
        try:
            python_of(framework)
            installed = time.monotonic() - began
            trials.append(tried(framework))
        except NotInstallable as reason:
            missing.append(f"NOT TRIED: {framework}, because it could not be installed: {reason}")
            continue
        except TrialFailed as reason:
            failed.append(f"FAILED: {framework}: {reason}")
            continue
        _show(trials[-1], installed)
    return trials, missing, failed


def _show(trial: Trial, installed: float) -> None:
    _say(f"== {trial.framework}: installed in {installed:.0f} s, tried in {trial.seconds:.0f} s")
    for cell in trial.cells:
        _say(f"{cell.row:<22} {cell.column:<11} {_counts(cell)}")
        for fault in cell.faults():
            _say(f"{'':<22} {'':<11} {fault}")
    counted = trial.governed_calls + trial.bypassed_calls
    _say(
        f"{trial.requests} requests; the SDK counted {trial.governed_calls} as governed, "
        f"{trial.bypassed_calls} as bypassed, and did not see {trial.requests - counted}"
    )


def _counts(cell: Cell) -> str:
    tokens_in = sum(call.tokens_in for call in cell.recorded)
    tokens_out = sum(call.tokens_out for call in cell.recorded)
    verdict = "WRONG" if any(cell.faults()) else "right"
    return (
        f"{verdict}: {len(cell.told)} requests, {len(cell.recorded)} records, "
        f"{tokens_in:,} tokens in, {tokens_out:,} out"
    )


def _problems(trials: Sequence[Trial], explanations: Sequence[Known]) -> list[str]:
    """What is wrong and not explained, and what is explained and right."""
    problems = [
        f"FAILED: {trial.framework}, {cell.row}, {cell.column}: {fault}"
        for trial in trials
        for cell in trial.cells
        if not any(item.explains(trial.framework, cell) for item in explanations)
        for fault in cell.faults()
    ]
    if list(needed(explanations, trials)) != list(explanations):
        problems.append(
            "cells are right that known.json explains; run make test-frameworks ARGS=--write"
        )
    return problems


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
