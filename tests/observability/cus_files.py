"""What the files of `observability/` say: rules, their expressions, panels and the metrics named."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from observability.cus_observe import FOLDER

RULES = sorted((FOLDER / "prometheus" / "rules").glob("*.yml"))
RULE_TESTS = sorted((FOLDER / "prometheus" / "tests").glob("*.yml"))
DASHBOARDS = sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))
_QUOTED = re.compile(r'"[^"]*"')
_METRIC = re.compile(r"\b(?:integration:)?cus_[a-z0-9_]+(?::\w+)*")


def rules() -> Iterator[dict[str, Any]]:
    """All rules, recording ones first."""
    found = [rule for path in RULES for group in _groups(path) for rule in group["rules"]]
    yield from sorted(found, key=lambda rule: "alert" in rule)


def alerts() -> list[dict[str, Any]]:
    """The rules that alert."""
    return [rule for rule in rules() if "alert" in rule]


def _groups(path: Path) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(path.read_text())["groups"]
    return groups


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each panel that shows data, with the name of its dashboard's file."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] != "row":
                yield path.name, panel


def metrics_of(expression: str) -> set[str]:
    """The names of the metrics and recorded series of an expression."""
    return set(_METRIC.findall(_QUOTED.sub("", expression)))
