"""What months, partitions, holds and coverage go by is the database's clock (ruling E3)."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Who may ask the process' own clock, and for what.
ALLOWED = {
    "enforcement/cus_checks/api.py": "whether an SDK key has expired",
    "enforcement/cus_checks/unread.py": "when it was decided without a database",
    "telemetry/cus_evidence/api.py": "whether a record's own timestamp can be right",
}
_CLOCKS = {"now", "today", "utcnow", "localtime", "time"}
_OWNERS = {"timezone", "datetime", "date", "time"}


def uses_of_the_process_clock(path: Path) -> list[int]:
    """The lines on which a module asks what time its own process has."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if _is_clock(call.func)]


def _is_clock(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr in _CLOCKS
        and isinstance(function.value, ast.Name)
        and function.value.id in _OWNERS
    )


@pytest.mark.parametrize("folder", ["aos_project/cus_probes.py", "enforcement", "telemetry"])
def test_nothing_that_binds_goes_by_the_clock_of_its_process(folder: str) -> None:
    place = ROOT / folder
    modules = [place] if place.is_file() else sorted(place.rglob("*.py"))
    asking = {
        str(path.relative_to(ROOT)) for path in modules if uses_of_the_process_clock(path)
    } - ALLOWED.keys()

    assert asking == set()


def test_every_exception_is_needed() -> None:
    for path in ALLOWED:
        assert uses_of_the_process_clock(ROOT / path), f"{path} needs no exception any more"


def test_a_new_module_that_asks_its_own_clock_is_found(tmp_path: Path) -> None:
    planted = tmp_path / "cus_new.py"
    planted.write_text("from django.utils import timezone\n\nmonth = timezone.now().month\n")

    assert uses_of_the_process_clock(planted) == [3]
