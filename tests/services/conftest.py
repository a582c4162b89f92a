"""A customer's receiver of webhooks, and a tenant's target at it."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_notifications.models import CusNotificationTarget
from integrations.cus_notifications.service import CusNotificationService
from tests.services.cus_receiver import Receiver


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    with Receiver() as one:
        one.allow(settings)
        yield one


@pytest.fixture
def webhook(tenant: CusTenant, receiver: Receiver) -> CusNotificationTarget:
    target, _ = CusNotificationService(tenant).add(medium="webhook", address=receiver.address)
    return target
