"""How long it takes to import each contestant, in interpreters that did nothing before."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.cus_report import Section
from benchmarks.cus_sdk_contestants import CONTROLS, Contestant
from benchmarks.cus_targets import SDK_IMPORT

_PROGRAM: Final = """
import sys
import time
{before}
began, modules = time.perf_counter(), len(sys.modules)
{imports}
print((time.perf_counter() - began) * 1000, len(sys.modules) - modules)
"""
_OPENAI: Final = "import openai"


def measure(contestants: Sequence[Contestant], times: int) -> list[Section]:
    """Milliseconds above a bare interpreter, and above one that has openai already."""
    section = Section(
        f"Imports: median of {times} interpreters each",
        ("statement", "ms", "modules", "ms, openai being there", "target"),
    )
    bare = CONTROLS[0]
    section.rows.append([_OPENAI, *_cells(bare, "", _OPENAI, times), "", ""])
    for contestant in contestants:
        if contestant.imports:
            cells = _cells(contestant, "", contestant.imports, times)
            after = _cells(contestant, _OPENAI, contestant.imports, times)
            verdict = "" if contestant.is_peer else SDK_IMPORT.verdict(float(cells[0]))
            section.rows.append([contestant.imports, *cells, after[0], verdict])
    used = "from aos_sdk import cus_configure, cus_install_middleware"
    cells, after = _cells(bare, "", used, times), _cells(bare, _OPENAI, used, times)
    section.rows.append([used, *cells, after[0], ""])
    section.notes = [
        "The last: what a program asks of ours first; it loads when it is asked for.",
        "logfire is a plugin of pydantic's, so where it is installed openai imports it.",
    ]
    return [section]


def _cells(contestant: Contestant, before: str, imports: str, times: int) -> list[str]:
    program = _PROGRAM.format(before=before, imports=imports)
    found: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory(prefix="cus-bench-sdk-") as folder:
        # A first one finds bytecode and files cold.
        for _ in range(times + 1):
            done = subprocess.run(
                [contestant.python, "-c", program],
                cwd=folder,
                env=contestant.environment(Path(folder)),
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                return ["failed", "-"]
            took, modules = done.stdout.split()[-2:]
            found.append((float(took), int(modules)))
    return [f"{median(took for took, _ in found[1:]):.2f}", f"{found[0][1]:,}"]
