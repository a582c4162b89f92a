"""Whatever is sent: no 5xx, no HTML, what is refused is named, what counts is stored.

Small runs of what `make trust-ingest` does in full.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings

from tests.cus_prepared_database import PreparedDatabase
from tests.trust.cus_audit import findings
from tests.trust.cus_door import Door
from tests.trust.cus_hostile import Hostility, Value
from tests.trust.cus_hostile_delivery import (
    Body,
    HostileDelivery,
    deliver_body,
    gzip_bodies,
    hostile_bodies,
    stored_findings,
)
from tests.trust.cus_hostile_strategies import hostile_fields
from tests.trust.cus_real_product import RealProduct

NOW = datetime.now(UTC).isoformat()
BODIES = hostile_bodies("test")


@pytest.fixture(scope="module")
def product(prepared: PreparedDatabase) -> Iterator[RealProduct]:
    with RealProduct(web_servers=1, prepared=prepared) as real:
        yield real


@pytest.fixture(scope="module")
def key(product: RealProduct) -> str:
    return product.make_keys()[0][0]


@pytest.fixture
def door(product: RealProduct, key: str) -> Iterator[Door]:
    door = product.door(0, key)
    yield door
    door.close()


@pytest.fixture(scope="module")
def delivery(product: RealProduct) -> Iterator[HostileDelivery]:
    """For a tenant of its own, whose rows are compared with what must be stored."""
    key = product.make_keys()[0][0]
    door = product.door(0, key)
    yield HostileDelivery(door, key)
    door.close()


def test_every_field_with_every_hostile_value_is_stored_or_refused_by_name(
    product: RealProduct, delivery: HostileDelivery
) -> None:
    hostility = Hostility(1, NOW)

    delivery.deliver(hostility.table())
    delivery.deliver(islice(hostility.mixtures(), 500))

    assert delivery.result.findings == []
    assert delivery.result.statuses.total() > 3_000
    assert min(delivery.result.statuses.values()) > 5, "some answer was never asked for"
    with product.connect() as connection:
        assert stored_findings(connection, delivery) == []
        assert findings(connection) == []


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(hostile=hostile_fields)
def test_what_hypothesis_thinks_of_is_stored_or_refused_by_name(
    delivery: HostileDelivery, hostile: list[list[tuple[str, Value]]]
) -> None:
    delivery.result.findings.clear()

    delivery.deliver_batch([_HOSTILITY.with_fields(fields) for fields in hostile])

    assert delivery.result.findings == []


_HOSTILITY = Hostility(2, NOW)


@pytest.mark.parametrize("body", BODIES, ids=[body.name.replace(" ", "-") for body in BODIES])
def test_a_request_that_is_hostile_as_a_whole_is_answered_in_json(door: Door, body: Body) -> None:
    assert deliver_body(door, body) is None


def test_compressed_requests_are_taken_and_bombs_are_not(product: RealProduct, key: str) -> None:
    door = product.door(0, key)
    wrong = [deliver_body(door, body) for body in gzip_bodies("test")]
    door.close()

    assert [finding for finding in wrong if finding] == []
