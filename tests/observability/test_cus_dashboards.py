"""Grafana's dashboards are what their code makes, and lead to the console."""

import json
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.cus_dashboards import texts
from tests.observability.cus_files import DASHBOARDS, panels

_SINGLE = ("call_id", "session_id", "agent_id")
PANELS = [pytest.param(panel, id=f"{board} {panel['title']}") for board, panel in panels()]


def test_the_files_are_what_the_code_makes() -> None:
    """`make dashboards` writes them."""
    assert {path.name: path.read_text() for path in DASHBOARDS} == texts()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_read_by_the_types_of_grafana_stays_the_same(path: Any) -> None:
    register_default_plugins()
    text = path.read_text()
    read = Dashboard.from_json(json.loads(text))
    assert json.dumps(read, cls=JSONEncoder, indent=2, sort_keys=True) + "\n" == text


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_links_to_the_console(panel: dict[str, Any]) -> None:
    (link,) = panel["links"]
    assert link["title"] == "View evidence in Console"
    assert link["url"].startswith("${console}/")


@pytest.mark.parametrize("panel", PANELS)
def test_no_panel_is_about_single_calls(panel: dict[str, Any]) -> None:
    assert not [word for word in _SINGLE if word in json.dumps(panel)]
    assert panel["type"] not in ("logs", "table", "traces")


def test_the_dashboards_have_what_the_specification_asks_for() -> None:
    titles = " ".join(panel["title"] for _, panel in panels())
    for subject in (
        "Cost an hour", "Budget used", "Decisions", "Blocked checks a second, by reason", "Health",
        "Calls a second", "Latency", "Failed calls", "Coverage",
    ):  # fmt: skip
        assert subject in titles
