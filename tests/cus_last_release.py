"""The last release's package, as its commit has it."""

import subprocess
from pathlib import Path

from tests.conftest import ROOT

# SDK 0.1.0.
RELEASE = "71fd3f0"


def last_release(folder: Path) -> Path | None:
    """The folder to import it from, made in `folder`; None where this clone lacks the commit."""
    archived = subprocess.run(
        ["git", "archive", RELEASE, "sdk/python/aos_sdk"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archived.returncode:
        return None
    subprocess.run(["tar", "-x", "-C", folder], input=archived.stdout, check=True)
    return folder / "sdk" / "python"
