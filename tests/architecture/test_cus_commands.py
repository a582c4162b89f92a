"""The commands of the Makefile start: their modules need no settings until they make servers."""

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

_MODULES = sorted(
    set(
        re.findall(r"\$\(PYTHON\) -m ((?:tests|benchmarks)[.\w]*)", (ROOT / "Makefile").read_text())
    )
)


def test_the_makefile_names_the_campaigns_and_benchmarks() -> None:
    assert len(_MODULES) >= 8


@pytest.mark.parametrize("module", _MODULES)
def test_a_command_starts_without_settings(module: str) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
    program = f"import importlib; importlib.import_module({module!r})"

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=bare, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr[-2000:]
