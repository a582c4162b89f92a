"""SDK keys: recognisable, unguessable, kept only as a hash."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.use import key_uses
from integrations.cus_keys.verifier import (
    SdkPrincipal,
    forget_sdk_keys,
    issue_sdk_key,
    revoke_sdk_key,
    verify_sdk_key,
)
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_tenancy.tenant_service import CusTenantService
from tests.cus_factories import make_integration


def test_a_key_names_tenant_and_integration_and_has_a_checksum(
    integration: CusIntegration,
) -> None:
    _, text = issue_sdk_key(integration)

    tenant_id, integration_id, secret = text.split(":")
    assert (tenant_id, integration_id) == (str(integration.tenant_id), str(integration.id))
    assert re.fullmatch(r"aosk_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", secret)


def test_a_key_vouches_for_its_integration(integration: CusIntegration) -> None:
    key, text = issue_sdk_key(integration)

    principal = verify_sdk_key(text, now=timezone.now())

    assert principal is not None
    assert (principal.key_id, principal.tenant_id) == (key.id, integration.tenant_id)
    assert (principal.integration_id, principal.provider_type) == (integration.id, "openai")


def test_two_keys_of_one_integration_live_at_once(integration: CusIntegration) -> None:
    first, second = issue_sdk_key(integration)[1], issue_sdk_key(integration)[1]

    assert first != second
    assert verify_sdk_key(first, now=timezone.now())
    assert verify_sdk_key(second, now=timezone.now())


@pytest.mark.parametrize("change", [str.upper, str.lower, lambda t: t[:-1], lambda t: t + "0"])
def test_a_key_that_was_mistyped_is_none(
    integration: CusIntegration, change: Callable[[str], str]
) -> None:
    _, text = issue_sdk_key(integration)

    assert verify_sdk_key(change(text), now=timezone.now()) is None


def test_a_look_alike_is_refused_without_asking_the_database(
    integration: CusIntegration, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, text = issue_sdk_key(integration)
    look_alike = text[:-6] + ("000000" if not text.endswith("000000") else "111111")

    with django_assert_num_queries(0):
        assert verify_sdk_key(look_alike, now=timezone.now()) is None


def test_the_secret_is_in_no_column(integration: CusIntegration) -> None:
    _, text = issue_sdk_key(integration, label="x")
    with connection.cursor() as cursor:
        cursor.execute("SELECT cus_sdk_keys::text FROM cus_sdk_keys")
        (row,) = cursor.fetchone()

    assert text.split(":")[2][5:-4] not in row


def test_a_hash_is_worth_nothing_under_another_server_secret(
    integration: CusIntegration, settings: Settings
) -> None:
    _, text = issue_sdk_key(integration)
    settings.CUS_KEY_HASH_SECRET = "another" * 8

    assert verify_sdk_key(text, now=timezone.now()) is None


def test_a_revoked_key_is_dead_and_an_expiring_one_dies_in_time(
    integration: CusIntegration,
) -> None:
    now = timezone.now()
    revoked, revoked_text = issue_sdk_key(integration)
    expiring, expiring_text = issue_sdk_key(integration)
    assert verify_sdk_key(revoked_text, now=now)
    revoke_sdk_key(revoked)
    forget_sdk_keys()  # what two seconds do
    CusSdkKey.objects.filter(id=expiring.id).update(expires_at=now + timedelta(seconds=5))

    assert verify_sdk_key(revoked_text, now=now) is None
    assert verify_sdk_key(expiring_text, now=now)
    assert verify_sdk_key(expiring_text, now=now + timedelta(seconds=6)) is None


@pytest.mark.django_db(transaction=True)
def test_last_use_is_noted_coarsely(integration: CusIntegration) -> None:
    now = timezone.now()
    key, text = issue_sdk_key(integration)

    def last_used(seconds: int) -> object:
        forget_sdk_keys()
        verify_sdk_key(text, now=now + timedelta(seconds=seconds))
        key_uses.finish()
        return CusSdkKey.objects.get(id=key.id).last_used_at

    assert last_used(0) == now
    assert last_used(60) == now
    assert last_used(700) == now + timedelta(seconds=700)


@pytest.mark.parametrize("closed", ["integration", "tenant"])
def test_a_key_of_what_is_closed_takes_late_facts_alone_and_for_a_while(
    integration: CusIntegration, closed: str, settings: Settings
) -> None:
    now = timezone.now()
    _, text = issue_sdk_key(integration)
    before = verify_sdk_key(text, now=now)
    assert before
    assert not before.ingest_only
    if closed == "integration":
        CusIntegrationService(integration.tenant).delete(integration)
    else:
        CusTenantService().close(integration.tenant)

    def later(**time: int) -> SdkPrincipal | None:
        forget_sdk_keys()
        return verify_sdk_key(text, now=now + timedelta(**time))

    late = later(days=settings.CUS_TELEMETRY_MAX_AGE_DAYS)
    assert late
    assert late.ingest_only
    assert later(days=settings.CUS_TELEMETRY_MAX_AGE_DAYS, minutes=1) is None


def test_a_revoked_key_of_a_deleted_integration_takes_nothing(integration: CusIntegration) -> None:
    key, text = issue_sdk_key(integration)
    CusIntegrationService(integration.tenant).delete(integration)
    revoke_sdk_key(key)

    assert verify_sdk_key(text, now=timezone.now()) is None


def test_a_key_is_looked_up_once_in_a_while_and_a_revocation_acts_within_two_seconds(
    integration: CusIntegration,
    django_assert_num_queries: DjangoAssertNumQueries,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("integrations.cus_keys.verifier.time.monotonic", lambda: clock[0])
    key, text = issue_sdk_key(integration)
    assert verify_sdk_key(text, now=timezone.now())
    with django_assert_num_queries(0):
        assert verify_sdk_key(text, now=timezone.now())
    revoke_sdk_key(key)

    clock[0] += 1.9

    assert verify_sdk_key(text, now=timezone.now()) is None


def test_a_remembered_key_opens_no_other_integration(integration: CusIntegration) -> None:
    other = make_integration()
    _, text = issue_sdk_key(integration)
    assert verify_sdk_key(text, now=timezone.now())

    stitched = f"{other.tenant_id}:{other.id}:{text.split(':')[2]}"

    assert verify_sdk_key(stitched, now=timezone.now()) is None


def test_a_remembered_key_dies_when_it_expires(integration: CusIntegration) -> None:
    now = timezone.now()
    key, text = issue_sdk_key(integration)
    CusSdkKey.objects.filter(id=key.id).update(expires_at=now + timedelta(seconds=1))
    assert verify_sdk_key(text, now=now)

    assert verify_sdk_key(text, now=now + timedelta(seconds=1)) is None
