"""The product as the end-to-end tests meet it."""

from collections.abc import Iterator

import pytest

from tests.e2e.cus_served import ServedProduct


@pytest.fixture
def product() -> Iterator[ServedProduct]:
    with ServedProduct() as served:
        yield served
