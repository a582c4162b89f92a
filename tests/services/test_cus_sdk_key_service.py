"""SDK keys of an integration: two alive at once, audited, dead everywhere within two seconds."""

import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.service import (
    CusSdkKeyService,
    SdkKeyExpiryPast,
    SdkKeyNotFound,
    TooManySdkKeys,
)
from integrations.cus_keys.verifier import verify_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import IntegrationNotFound
from tests.cus_factories import make_integration, make_user, record
from tests.e2e.cus_served import ServedProduct


def test_a_third_living_key_is_refused_until_one_dies(integration: CusIntegration) -> None:
    service = CusSdkKeyService(integration)
    first, _ = service.issue()
    service.issue()
    with pytest.raises(TooManySdkKeys, match="Revoke one of them first"):
        service.issue()

    service.revoke(first.id)

    service.issue()
    with pytest.raises(TooManySdkKeys):
        service.issue()
    assert service.scope().count() == 3


def test_a_key_counts_until_it_has_expired(integration: CusIntegration) -> None:
    service = CusSdkKeyService(integration)
    soon, text = service.issue(expires_at=timezone.now() + timedelta(minutes=1))
    service.issue()
    with pytest.raises(TooManySdkKeys):
        service.issue()
    assert verify_sdk_key(text, now=timezone.now())
    assert verify_sdk_key(text, now=timezone.now() + timedelta(minutes=2)) is None

    CusSdkKey.objects.filter(id=soon.id).update(expires_at=timezone.now() - timedelta(seconds=1))

    service.issue()


def test_a_key_that_is_born_dead_is_refused(integration: CusIntegration) -> None:
    with pytest.raises(SdkKeyExpiryPast):
        CusSdkKeyService(integration).issue(expires_at=timezone.now())


def test_a_deleted_integration_gets_no_key_but_loses_one(integration: CusIntegration) -> None:
    key, text = CusSdkKeyService(integration).issue()
    CusIntegrationService(integration.tenant).delete(integration)
    with pytest.raises(IntegrationNotFound):
        CusSdkKeyService(integration).issue()
    assert verify_sdk_key(text, now=timezone.now())

    CusSdkKeyService(integration).revoke(key.id)

    assert CusSdkKey.objects.get(id=key.id).revoked_at


def test_another_integrations_key_is_not_there(integration: CusIntegration) -> None:
    foreign, _ = CusSdkKeyService(make_integration()).issue()

    for missing in (foreign.id, uuid.uuid4()):
        with pytest.raises(SdkKeyNotFound):
            CusSdkKeyService(integration).revoke(missing)
    assert CusSdkKey.objects.get(id=foreign.id).revoked_at is None


def test_who_issued_and_revoked_stands_in_the_trail_without_the_key(
    integration: CusIntegration,
) -> None:
    actor = make_user("operator")
    service = CusSdkKeyService(integration, actor=actor)
    key, text = service.issue(label="billing")
    service.revoke(key.id)
    service.revoke(key.id)

    entries = CusAuditEntry.objects.filter(object_id=str(key.id)).order_by("action")

    assert [(one.action, one.actor) for one in entries] == [
        ("sdk_key.issued", actor),
        ("sdk_key.revoked", actor),
    ]
    assert text.split(":")[2] not in str(list(entries.values()))


@pytest.mark.django_db(transaction=True)
def test_of_many_who_ask_at_once_two_get_a_key() -> None:
    integration = make_integration()
    start = threading.Barrier(8)

    def ask(_number: int) -> bool:
        start.wait()
        try:
            CusSdkKeyService(integration).issue()
        except TooManySdkKeys:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        issued = sum(pool.map(ask, range(8)))

    assert issued == CusSdkKey.objects.filter(integration=integration).count() == 2


def _status(base_url: str, key: str) -> int:
    request = urllib.request.Request(
        f"{base_url}/api/v1/cus/telemetry/llm-usage",
        data=json.dumps(record()).encode(),
        headers={"Content-Type": "application/json", "X-CUS-Integration-Key": key},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.django_db(transaction=True)
def test_a_revoked_key_is_refused_by_every_process_within_two_seconds() -> None:
    integration = make_integration()
    service = CusSdkKeyService(integration)
    key, text = service.issue()
    with ServedProduct() as one, ServedProduct() as other:
        for product in (one, other):
            assert _status(product.base_url, text) == 201
        # Each has just remembered that the key is good.
        service.revoke(key.id)
        time.sleep(2)

        assert [_status(product.base_url, text) for product in (one, other)] == [401, 401]
