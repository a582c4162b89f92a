"""A hole made on purpose in a copy of the tree, and whether the tests fall into it."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_TOO_LONG_SECONDS: Final = 600


@dataclass(frozen=True)
class Mutant:
    """A text of a file, what takes its place, and what that breaks.

    `file`: "room/module" of the app, without `cus_` and `.py`.
    """

    file: str
    text: str
    instead: str
    breaks: str
    tests: str
    app: str = "integrations"

    @property
    def path(self) -> Path:
        return Path(self.app) / f"cus_{self.file}.py"


def copied(to: Path) -> Path:
    """The tree as git knows it, with what is not committed yet."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


def killed(mutant: Mutant, tree: Path) -> bool:
    """Whether a test falls into the hole. Raises RuntimeError where they could not be run."""
    path = tree / mutant.path
    whole = path.read_text()
    path.write_text(whole.replace(mutant.text, mutant.instead))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    try:
        run = subprocess.run(
            [*command, *mutant.tests.split()],
            cwd=tree,
            capture_output=True,
            text=True,
            timeout=_TOO_LONG_SECONDS,
            check=False,
        )
    finally:
        path.write_text(whole)
    if run.returncode not in (0, 1) or " error" in run.stdout.splitlines()[-1]:
        raise RuntimeError(run.stdout[-2000:] + run.stderr[-2000:])
    return run.returncode == 1
