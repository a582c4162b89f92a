"""The import contracts hold for modules that they do not name."""

import copy
import tomllib
from fnmatch import fnmatch
from typing import Any

import grimp
import pytest
from importlinter.contracts.protected import ProtectedContract

from tests.conftest import ROOT

_LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
_SDKS_INSIDE = "The server borrows only the SDK's prices and words"
_SERVICES = "Services know no HTTP, no Celery, no admin"


def _contract(name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in _LINTER["contracts"] if one["name"] == name)
    return found


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        *_LINTER["root_packages"],
        include_external_packages=True,
        exclude_type_checking_imports=True,
        cache_dir=None,
    )


def _is_kept(graph: grimp.ImportGraph) -> bool:
    # As the linter reads them from the file.
    options = {
        name: str(value) if isinstance(value, bool) else value
        for name, value in _contract(_SDKS_INSIDE).items()
    }
    contract = ProtectedContract(
        name=_SDKS_INSIDE, session_options=dict(_LINTER), contract_options=options
    )
    # The check takes the imports that are allowed out of the graph.
    return bool(contract.check(copy.deepcopy(graph), verbose=False).kept)


def _planted(graph: grimp.ImportGraph, importer: str, imported: str) -> grimp.ImportGraph:
    """The graph with one import more, of modules that need not exist."""
    planted = copy.deepcopy(graph)
    for module in (importer, imported):
        planted.add_module(module)
    planted.add_import(importer=importer, imported=imported)
    return planted


def test_the_server_uses_no_more_of_the_sdk_than_it_may(graph: grimp.ImportGraph) -> None:
    assert _is_kept(graph)


@pytest.mark.parametrize("importer", ["telemetry.cus_evidence.records", "integrations.cus_new"])
@pytest.mark.parametrize(
    "new", ["aos_sdk.cus_planted", "aos_sdk.cus_delivery.planted", "aos_sdk.planted.planted"]
)
def test_a_new_module_of_the_sdk_is_closed_to_the_server(
    graph: grimp.ImportGraph, importer: str, new: str
) -> None:
    assert not _is_kept(_planted(graph, importer, new))


def test_a_new_module_of_the_sdk_is_open_to_the_sdk_and_to_the_demo(
    graph: grimp.ImportGraph,
) -> None:
    for importer in ("aos_sdk.cus_tracker", "aos_project.cus_demo.cus_replay"):
        assert _is_kept(_planted(graph, importer, "aos_sdk.cus_planted"))


def test_a_new_module_of_the_server_may_use_prices_and_words(graph: grimp.ImportGraph) -> None:
    open_to_all = ("cus_cost", "cus_pricing.planted", "cus_fields", "cus_wire")
    for imported in (f"aos_sdk.{name}" for name in open_to_all):
        assert _is_kept(_planted(graph, "telemetry.cus_planted", imported))


def test_the_contract_on_services_covers_every_service(graph: grimp.ImportGraph) -> None:
    services = {
        module
        for module in graph.modules
        if module.endswith(("_service", ".service"))
        and not module.startswith(("aos_sdk", "aos_project"))
    }
    covered = _contract(_SERVICES)["source_modules"]

    assert len(services) > 15
    assert {one for one in services if not any(fnmatch(one, name) for name in covered)} == set()
