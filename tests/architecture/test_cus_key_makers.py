"""Only the service that writes the audit trail makes and revokes SDK keys."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

_UNAUDITED = {"issue_sdk_key", "revoke_sdk_key"}
_SERVICE = ROOT / "integrations/cus_keys/service.py"


def unaudited_uses(folder: Path) -> list[Path]:
    """Modules below the folder, other than the service, that import what writes no audit entry."""
    return [
        path
        for path in sorted(folder.rglob("*.py"))
        if path != _SERVICE and _UNAUDITED & _imported(ast.parse(path.read_text()))
    ]


def _imported(tree: ast.Module) -> set[str]:
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in imports for alias in node.names}


@pytest.mark.parametrize("folder", ["aos_project", "enforcement", "integrations", "telemetry"])
def test_no_module_makes_or_revokes_a_key_past_the_audit_trail(folder: str) -> None:
    assert unaudited_uses(ROOT / folder) == []


def test_a_new_module_that_makes_a_key_past_the_audit_trail_is_found(tmp_path: Path) -> None:
    planted = tmp_path / "cus_new.py"
    planted.write_text("from integrations.cus_keys.verifier import issue_sdk_key\n")

    assert unaudited_uses(tmp_path) == [planted]
