"""The last release, as its commit has it: its SDK's package, or all of it."""

import subprocess
from pathlib import Path

from tests.conftest import ROOT

# SDK 0.1.0.
RELEASE = "71fd3f0"


def last_release(folder: Path) -> Path | None:
    """The folder to import its SDK from, made in `folder`; None where this clone lacks the commit."""
    return folder / "sdk" / "python" if _unpack(folder, "sdk/python/aos_sdk") else None


def whole_last_release(folder: Path) -> Path | None:
    """Its whole tree, made in `folder`; None where this clone lacks the commit."""
    return folder if _unpack(folder) else None


def _unpack(folder: Path, *paths: str) -> bool:
    archived = subprocess.run(
        ["git", "archive", RELEASE, *paths], cwd=ROOT, capture_output=True, check=False
    )
    if archived.returncode:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-x", "-C", folder], input=archived.stdout, check=True)
    return True
