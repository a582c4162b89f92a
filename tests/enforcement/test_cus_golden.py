"""Decisions that earlier releases stored are decided the same by this one, for ever (ruling F9)."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from enforcement.cus_decisions.explain import explain
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_rules import facts, precedence
from enforcement.cus_rules.facts import POLICY, POLICY_OF_0_1_0, facts_of
from enforcement.cus_rules.precedence import decide
from integrations.cus_lifecycle.limits import LIMITS, Limit
from tests.enforcement.cus_make_golden import GOLDEN, write

UNRELEASED = "unreleased"
RELEASES = sorted(path.name for path in GOLDEN.iterdir())
FILES = sorted(GOLDEN.glob("*/*.json"))


def stored(path: Path) -> dict[str, Any]:
    """A decision as the log keeps it."""
    row: dict[str, Any] = json.loads(path.read_text())
    return row


def verdict(row: dict[str, Any]) -> str:
    """What deciding again comes to: identical or DIFFERENT."""
    return explain(CusEnforcementDecision(**row)).verdict


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_a_stored_decision_is_decided_the_same_again(path: Path) -> None:
    assert verdict(stored(path)) == "identical"


@pytest.mark.parametrize("release", RELEASES)
def test_each_release_kept_decisions_of_every_step(release: str) -> None:
    assert {stored(path)["step"] for path in GOLDEN.glob(f"{release}/*.json")} == set(range(1, 10))


def test_what_this_release_keeps_is_what_its_ladder_writes_now(tmp_path: Path) -> None:
    """If not: run `python -m tests.enforcement.cus_make_golden unreleased`."""
    write(tmp_path)
    written, kept = (
        {path.name: stored(path) for path in folder.glob("*.json")}
        for folder in (tmp_path, GOLDEN / UNRELEASED)
    )
    assert written.keys() == kept.keys()
    for name, row in written.items():
        assert row["facts"] == kept[name]["facts"], name
        assert verdict(row | {"facts": kept[name]["facts"]}) == "identical", name


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_other_words_are_the_same_decision(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reworded(limit: Limit) -> Limit:
        near = limit.near and replace(limit.near, message="{used} of {limit}")
        return replace(limit, reached=replace(limit.reached, message="no room"), near=near)

    row = stored(path)
    monkeypatch.setattr(precedence, "LIMITS", tuple(map(reworded, LIMITS)))
    assert verdict(row) == "identical"
    for reason in row["reasons"]:
        reason |= {"message": "Said otherwise.", "action": "Do otherwise"}
    assert verdict(row) == "identical"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_another_result_step_code_or_value_is_another_decision(path: Path) -> None:
    row = stored(path)
    assert verdict(row | {"degraded": not row["degraded"]}) == "DIFFERENT"
    assert verdict(row | {"step": row["step"] % 9 + 1}) == "DIFFERENT"
    other = "warned" if row["result"] == "allowed" else "allowed"
    assert verdict(row | {"result": other}) == "DIFFERENT"
    for number, reason in enumerate(stored(path)["reasons"]):
        for name in reason.keys() - {"message", "action"}:
            row = stored(path)
            row["reasons"][number][name] = "another" if name == "code" else 123_456
            assert verdict(row) == "DIFFERENT", name
    assert verdict(row | {"reasons": row["reasons"][1:]}) == "DIFFERENT"


def test_a_value_that_reasons_got_later_is_not_asked_of_older_decisions() -> None:
    row = stored(GOLDEN / "0.1.0" / "4-budget-exceeded.json")
    del row["reasons"][0]["threshold_percent"]
    assert verdict(row) == "identical"
    del row["reasons"][0]["code"]
    assert verdict(row) == "DIFFERENT"


def test_a_decision_goes_by_the_numbers_that_its_facts_keep() -> None:
    row = stored(GOLDEN / UNRELEASED / "7-budget-near.json")
    assert row["facts"]["policy"] == msgspec.to_builtins(POLICY)
    row["facts"]["policy"]["warning_percent"] = 95
    assert decide(facts_of(row["facts"])).step == 9
    row = stored(GOLDEN / UNRELEASED / "6-rate-exceeded.json")
    row["facts"]["policy"]["longest_throttle_seconds"] = 5
    assert decide(facts_of(row["facts"])).retry_after_seconds == 5
    row["facts"]["policy"]["windows"]["rate"] = "month"
    assert decide(facts_of(row["facts"])).reasons[0].retry_after_seconds == 727_200


def test_facts_without_numbers_are_decided_by_those_of_release_0_1_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = stored(GOLDEN / "0.1.0" / "7-budget-near.json")
    assert "policy" not in row["facts"]
    assert facts_of(row["facts"]).policy == POLICY_OF_0_1_0
    # What a later release decides by does not matter to them; what 0.1.0 decided by does.
    later = msgspec.structs.replace(POLICY, warning_percent=99)
    monkeypatch.setattr(facts, "POLICY", later)
    assert verdict(row) == "identical"
    monkeypatch.setattr(facts, "POLICY_OF_0_1_0", later)
    assert verdict(row) == "DIFFERENT"


@pytest.mark.parametrize("facts", [[], "none", {"authority": 5}, {"policy": {}}])
def test_facts_in_another_form_are_not_decided_again(facts: Any) -> None:
    row = stored(GOLDEN / "0.1.0" / "7-budget-near.json")
    assert verdict(row | {"facts": facts}).startswith("not possible")


def test_reasons_in_another_form_are_another_decision() -> None:
    row = stored(GOLDEN / "0.1.0" / "7-budget-near.json")
    assert verdict(row | {"reasons": ["budget_warning"]}) == "DIFFERENT"
