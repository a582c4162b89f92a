"""The frameworks' matrix: three small frameworks whole, and what the table and its locks say."""

import pytest

from tests.frameworks.cus_environments import LOCKS, NotInstallable, pinned
from tests.frameworks.cus_protocols import Exchange
from tests.frameworks.cus_provider import Seen
from tests.frameworks.cus_provider_suites import SUITES, differing_tests
from tests.frameworks.cus_table import (
    COLUMNS,
    DOCUMENT,
    FRAMEWORKS,
    Known,
    known,
    needed,
    rows_of,
    table,
)
from tests.frameworks.cus_trial import Cell, Heard, Trial, tried

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}


def _cell(*records: dict[str, object], output: object = "Hello", error: object = None) -> Cell:
    """A cell of one request, which told 1,000 + 100 tokens of which 200 were cached."""
    seen = (Seen("api.openai.com", "http", Exchange("chat/completions", CHAT, 0)),)
    bare = Heard({"output": "Hello"}, seen, ())
    governed = Heard({"output": output, "error": error}, seen, records)
    return Cell("OpenAI chat", "plain", bare, governed)


RECORD: dict[str, object] = {
    "host": "api.openai.com",
    "model": "gpt-4o-2024-08-06",
    "tokens_in": 1_000,
    "tokens_out": 100,
    "tokens_cached": 200,
}
EXPLANATION = Known("dspy", "OpenAI chat", ("plain", "stream"), "it has its own sockets.")


@pytest.mark.timeout(600)  # it may have to install the framework first
@pytest.mark.parametrize("framework", ["instructor", "openai-agents", "pydantic-ai"])
def test_a_small_framework_has_a_record_of_each_request_and_its_own_output(framework: str) -> None:
    try:
        trial = tried(framework, in_one_process=True)
    except NotInstallable as reason:
        pytest.skip(f"{framework} could not be installed: {reason}")

    document = DOCUMENT.read_text(encoding="utf-8")
    for cell in trial.cells:
        is_known = any(item.explains(framework, cell) for item in known())
        assert bool(list(cell.faults())) is is_known, (cell.row, cell.column, list(cell.faults()))
    assert all(row in document for row in rows_of(trial))


def test_a_cell_is_right_if_records_and_output_are_as_told_and_as_without_the_sdk() -> None:
    assert list(_cell(RECORD).faults()) == []


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (_cell(), "0 records of 1 request"),
        (_cell(RECORD, RECORD), "2 records of 1 request"),
        (_cell({**RECORD, "tokens_out": 99}), "the provider told"),
        (_cell({**RECORD, "tokens_cached": None}), "the provider told"),
        (_cell({**RECORD, "host": "localhost"}), "the provider told"),
        (_cell(RECORD, output="Hell"), "output differs"),
        (_cell(RECORD, error="KeyError: 'x'"), "with the SDK, it fails with KeyError"),
    ],
)
def test_a_cell_that_is_wrong_says_how(cell: Cell, fault: str) -> None:
    assert any(fault in found for found in cell.faults())


def test_an_explanation_is_dropped_for_the_columns_that_are_right() -> None:
    trial = Trial("dspy", (_cell(RECORD),), 1, 0, 1.0)

    assert [item.columns for item in needed([EXPLANATION], [trial])] == [("stream",)]
    assert list(needed([EXPLANATION], [])) == [EXPLANATION]


def test_a_framework_that_was_not_tried_keeps_its_rows() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")

    assert table([], known(), document) == document
    changed = table([Trial("dspy", (_cell(),), 0, 1, 1.0)], known(), document)
    assert "| dspy | OpenAI chat | **0 of 1** | | | | |" in changed
    assert "| litellm |" in changed


def test_the_documentation_has_each_framework_and_explains_each_wrong_cell() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    for framework in FRAMEWORKS:
        rows = [line.split(" | ") for line in lines if line.startswith(f"| {framework} |")]
        assert rows
        for _, row, *cells in rows:
            wrong = {
                column
                for column, cell in zip(COLUMNS, cells, strict=False)
                if cell.startswith("**")
            }
            explained = {
                column
                for item in known()
                if (item.framework, item.row) == (framework, row)
                for column in item.columns
            }
            assert wrong == explained


def test_the_source_of_each_suite_is_of_the_release_that_its_environment_has() -> None:
    sources = (LOCKS / "sources.txt").read_text()
    for package in SUITES:
        assert f"{package}=={pinned(f'suite-{package}')[package]} --hash=sha256:" in sources


def test_tests_of_a_suite_differ_if_their_outcomes_do() -> None:
    bare = {"a": "passed", "b": "failed", "c": "skipped", "d": "passed"}
    governed = {"a": "passed", "b": "failed", "c": "passed"}

    assert differing_tests(bare, governed) == {
        "c": ("skipped", "passed"),
        "d": ("passed", "absent"),
    }
