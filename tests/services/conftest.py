"""A tenant's target at a customer's receiver of webhooks."""

import pytest

from integrations.cus_accounts.models import CusTenant
from integrations.cus_notifications.models import CusNotificationTarget
from integrations.cus_notifications.service import CusNotificationService
from tests.services.cus_receiver import Receiver


@pytest.fixture
def webhook(tenant: CusTenant, receiver: Receiver) -> CusNotificationTarget:
    target, _ = CusNotificationService(tenant).add(medium="webhook", address=receiver.address)
    return target
