"""The access matrix's URLs of checks, which are decided by what other connections committed."""

import pytest

from tests.api.cus_access_requests import OF_CHECKS
from tests.api.cus_access_world import World
from tests.api.test_cus_access_matrix import compare_with_table

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("url", OF_CHECKS)
def test_everybody_gets_what_the_table_says(url: str) -> None:
    compare_with_table(url, World())
