"""Alert rules: what each carries, that it is tried, and that it names metrics that there are."""

import re
import subprocess
from shutil import which
from typing import Any

import pytest
import yaml

from aos_project.cus_signals import families
from observability.cus_observe import FOLDER
from telemetry.cus_clock import database_now
from tests.conftest import ROOT
from tests.observability.cus_files import RULE_TESTS, RULES, alerts, metrics_of, panels, rules

LOCKED = (
    "CusIntegrationBudgetWarning", "CusIntegrationBudgetCritical", "CusEnforcementBlocking",
    "CusIntegrationHealthDegraded", "CusIntegrationHealthFailing", "CusLLMHighErrorRate",
    "CusRateLimitApproaching", "CusThrottlingActive",
)  # fmt: skip
ALERTS = [pytest.param(rule, id=rule["alert"]) for rule in alerts()]
PLATFORM = {"tenant_id": "platform", "integration_id": "none", "enforcement_state": "none"}
_RAW_COUNTER = re.compile(r"(?<!increase\()(?<!rate\()\bcus_\w+_total\b")


@pytest.mark.parametrize("rule", ALERTS)
def test_an_alert_says_whose_it_is_and_where_to_look(rule: dict[str, Any]) -> None:
    notes, labels = rule["annotations"], rule["labels"]
    assert labels["severity"] in ("info", "warning", "critical")
    assert notes["summary"]
    assert notes["description"]
    assert notes["action"] == (
        f"Investigate in Console → Evidence-backed views: {notes['console_url']}"
    )
    assert notes["console_url"].startswith("{{ $externalLabels.console }}/")
    assert notes["runbook_url"] == "{{ $externalLabels.runbooks }}#" + rule["alert"].lower()
    # The join adds the state to the tenant and integration of the series.
    joined = "group_left (enforcement_state) cus_enforcement_state" in rule["expr"]
    assert joined or labels.items() >= PLATFORM.items()


@pytest.mark.parametrize("rule", ALERTS)
def test_an_alert_reads_counters_by_their_increase(rule: dict[str, Any]) -> None:
    assert not _RAW_COUNTER.search(rule["expr"])


@pytest.mark.parametrize("rule", ALERTS)
def test_an_alert_has_a_paragraph_in_the_runbook(rule: dict[str, Any]) -> None:
    runbook = (ROOT / "docs" / "operations.md").read_text()
    (paragraph,) = re.findall(rf"^#### {rule['alert']}\n\n((?:.+\n)+)", runbook, re.MULTILINE)
    assert len(paragraph) > 100


@pytest.mark.parametrize("rule", ALERTS)
def test_an_alert_has_a_case_that_fires_and_one_that_does_not(rule: dict[str, Any]) -> None:
    cases = [case for path in RULE_TESTS for case in yaml.safe_load(path.read_text())["tests"]]
    tried = [
        bool(one["exp_alerts"])
        for case in cases
        for one in case["alert_rule_test"]
        if one["alertname"] == rule["alert"]
    ]
    assert {*tried} == {True, False}


def test_the_alerts_of_the_specification_are_there() -> None:
    assert {*LOCKED} <= {rule["alert"] for rule in alerts()}


@pytest.mark.skipif(which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_rules_and_their_cases() -> None:
    for arguments in (("check", "rules", *RULES), ("test", "rules", *RULE_TESTS)):
        ran = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, check=False)
        assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()


@pytest.mark.skipif(which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_configuration() -> None:
    config = str(FOLDER / "prometheus" / "prometheus.yml")
    ran = subprocess.run(["promtool", "check", "config", config], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()


@pytest.mark.skipif(which("amtool") is None, reason="amtool is not installed")
def test_amtool_accepts_the_configuration() -> None:
    config = str(FOLDER / "alertmanager" / "alertmanager.yml")
    ran = subprocess.run(["amtool", "check-config", config], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()


@pytest.mark.django_db
def test_rules_and_panels_name_metrics_that_the_product_has() -> None:
    expressions = [rule["expr"] for rule in rules()]
    expressions += [target["expr"] for _, panel in panels() for target in panel["targets"]]
    named = set().union(*map(metrics_of, expressions))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    exported = {family.name for family in families(database_now())}
    assert {name.removesuffix("_bucket") for name in named - recorded} <= exported
    assert {name for name in named if name.startswith("integration:")} <= recorded
