"""The product as the end-to-end tests meet it."""

from collections.abc import Iterator

import pytest

from tests.e2e.cus_served import ServedProduct


@pytest.fixture(scope="module")
def product(django_db_setup: None) -> Iterator[ServedProduct]:
    """One server for all tests of a file: their tenants, integrations and keys are their own."""
    with ServedProduct() as served:
        yield served
