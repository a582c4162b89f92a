"""Rooms have one direction, Django finds what stands in them, and the drawing is true."""

import pkgutil
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from importlib import import_module

import grimp
import pytest
from django.apps import apps
from django.conf import settings
from django.db.models import Model
from django.utils.module_loading import import_string

from tests.architecture.cus_rooms import WITH_ROOMS, arrows, diagram, import_graph, room_of
from tests.conftest import ROOT

_OURS = re.compile(r"^(aos_project|enforcement|telemetry|integrations)(\.\w+)+$")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return import_graph()


@pytest.mark.parametrize("app", WITH_ROOMS)
def test_every_room_has_its_place_in_the_contract(app: str, graph: grimp.ImportGraph) -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(one["layers"] for one in linter["contracts"] if one.get("containers") == [app])
    named = {f"{app}.{name.strip()}" for layer in layers for name in layer.split("|")}

    assert set(arrows(graph, app)) == named


def test_no_module_of_the_server_imports_itself_by_a_detour(graph: grimp.ImportGraph) -> None:
    imports = {
        module: graph.find_modules_directly_imported_by(module)
        for module in graph.modules
        if not module.startswith("aos_sdk")
    }
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"These modules import one another in a circle: {error.args[1]}")


def test_the_drawing_of_the_rooms_is_the_code(graph: grimp.ImportGraph) -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    drawn = re.search(r"```mermaid\n(flowchart TD\n.*?)\n```", page, re.DOTALL)

    assert drawn, "docs/architecture.md has no drawing"
    hint = "Put into docs/architecture.md what `python -m tests.architecture.cus_rooms` prints."
    assert drawn[1] == diagram(graph), hint


@pytest.mark.parametrize("app", ["integrations", "telemetry", "enforcement"])
def test_django_knows_every_model_that_stands_in_a_room(app: str) -> None:
    """One that the app's `models.py` forgets has no migration, and no rights in the database."""
    package = import_module(app)
    known = {model.__name__ for model in apps.get_app_config(app).get_models()}
    door = import_module(f"{app}.models")
    found = set()
    for module in pkgutil.walk_packages(package.__path__, f"{app}."):
        if ".migrations" in module.name or ".management" in module.name:
            continue
        for thing in vars(import_module(module.name)).values():
            is_model = isinstance(thing, type) and issubclass(thing, Model)
            if is_model and thing.__module__ == module.name and not thing._meta.abstract:
                found.add(thing.__name__)

    assert found
    assert found - known == set()
    assert {name for name in found if not hasattr(door, name)} == set()


def _dotted(value: object) -> Iterator[str]:
    """Every text in a setting that looks like the path of something of ours."""
    if isinstance(value, str):
        if _OURS.match(value):
            yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _dotted(key)
            yield from _dotted(one)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from _dotted(one)


def _named_in_settings() -> list[str]:
    values = (getattr(settings, name) for name in dir(settings) if name.isupper())
    return sorted({path for value in values for path in _dotted(value)})


def _is_there(path: str) -> bool:
    with suppress(LookupError, ValueError):
        # As Django names a model of its users'.
        return bool(apps.get_model(path))
    try:
        import_module(path)
    except ModuleNotFoundError:
        return bool(import_string(path))
    return True


def test_settings_name_only_what_is_there() -> None:
    paths = _named_in_settings()

    assert len(paths) > 15
    # The names of jobs are not paths of functions: they outlive a move (`name=`).
    jobs = {job["task"] for job in settings.CELERY_BEAT_SCHEDULE.values()}
    for path in set(paths) - jobs:
        assert _is_there(path), path


def test_a_module_belongs_to_the_room_it_stands_in(graph: grimp.ImportGraph) -> None:
    assert room_of(graph, "integrations.cus_keys.api") == "integrations.cus_keys"
    assert room_of(graph, "integrations.cus_keys") == "integrations.cus_keys"
    assert room_of(graph, "integrations.cus_checks") is None
    assert room_of(graph, "integrations.tasks") is None
