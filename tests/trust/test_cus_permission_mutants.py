"""The table of `make mutate-permissions` stays one of the code as it is."""

import pytest

from tests.trust.cus_mutant import ROOT, Mutant
from tests.trust.cus_permission_mutants import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=[one.breaks for one in MUTANTS])
def test_each_hole_is_of_a_text_that_is_there_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.path).read_text().count(mutant.text) == 1
    assert mutant.instead != mutant.text
    for test in mutant.tests.split():
        assert (ROOT / test.partition("::")[0]).is_file()
