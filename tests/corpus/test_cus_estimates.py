"""The error of estimates, on the corpus of bills: bounded, and stated in docs/enforcement.md."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.corpus import cus_estimate_error as error
from tests.corpus.cus_estimate_error import BEYOND, Estimated, below_their_bill, spread


@pytest.fixture(scope="module")
def found() -> Iterator[list[Any]]:
    with pytest.MonkeyPatch.context() as patch:
        error.without_limits_of_time(patch.setattr)
        yield [one for _, one in error.every_call()]


def test_no_call_bills_more_than_its_bound_but_those_that_are_named(found: list[Any]) -> None:
    assert {one.call.name for one in below_their_bill(found)} == BEYOND.keys()


def test_the_errors_are_as_small_as_the_documents_say(found: list[Any]) -> None:
    those = [one for one in found if isinstance(one, Estimated)]
    lowest, middle, _ = spread(those, "by_bytes")
    assert lowest >= 1
    assert middle <= 2.5
    lowest, middle, _ = spread(those, "by_tokenizer")
    assert lowest >= 0.55
    assert 0.95 <= middle <= 1.1


def test_most_calls_are_estimated_by_the_sdk(found: list[Any]) -> None:
    assert sum(isinstance(one, Estimated) for one in found) >= 100


def test_the_documents_have_what_the_command_prints(found: list[Any]) -> None:
    page = (ROOT / "docs/enforcement.md").read_text()
    for section in error.sections():
        for row in section.rows:
            assert "| " + " | ".join(row) + " |" in page, f"`make estimate-error` prints {row}"
