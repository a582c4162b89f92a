"""One verifier of SDK keys serves reports and checks, and checks even without the database (F6)."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from enforcement.cus_checks.keys import caller_of
from enforcement.cus_reading.absence import DatabaseAbsent, DatabaseBusy
from enforcement.cus_reading.decider import DeciderPool
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.use import KeyUses, key_uses
from integrations.cus_keys.verifier import (
    forget_sdk_keys,
    issue_sdk_key,
    revoke_sdk_key,
    verify_sdk_key,
)
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.sdk_routes import ARRIVED
from tests.conftest import _superuser
from tests.cus_factories import ENFORCEMENT, SdkClient, make_integration, record

pytestmark = pytest.mark.django_db(transaction=True)


class Clock:
    """The verifier's clock, which goes when it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real = time.monotonic
        monkeypatch.setattr(
            "integrations.cus_keys.verifier.time.monotonic", lambda: real() + self.ahead
        )


def away(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """The database gives no answer to checks from now on."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(DeciderPool, "run", fail)


def test_a_check_notes_that_its_key_is_used_and_not_at_each_check(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    assert CusSdkKey.objects.get().last_used_at is None

    sdk.check()
    key_uses.finish()
    first = CusSdkKey.objects.get().last_used_at
    assert first is not None
    forget_sdk_keys()  # another process, which has noted nothing
    sdk.check()
    key_uses.finish()
    assert CusSdkKey.objects.get().last_used_at == first

    before = timezone.now() - timedelta(minutes=11)
    CusSdkKey.objects.update(last_used_at=before)
    forget_sdk_keys()
    sdk.check()
    key_uses.finish()
    assert CusSdkKey.objects.filter(last_used_at__gt=before).exists()


def test_what_could_not_be_noted_is_noted_later(
    sdk: SdkClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, uses = CusSdkKey.objects.get(), KeyUses()
    with monkeypatch.context() as patch:
        patch.setattr("integrations.cus_keys.use._TIMEOUTS", {"port": 1, "host": "127.0.0.1"})
        uses.note(key.id, timezone.now())
        uses.finish()
    assert CusSdkKey.objects.get().last_used_at is None

    uses.note(key.id, timezone.now())
    uses.finish()
    assert CusSdkKey.objects.get().last_used_at is not None


def test_a_key_that_a_check_has_shown_is_not_looked_up_again_for_a_report(
    sdk: SdkClient, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    sdk.check()

    with django_assert_num_queries(1) as queries:  # of the integration, for its provider
        assert verify_sdk_key(sdk.key, now=timezone.now())
    assert "cus_sdk_keys" not in queries.captured_queries[0]["sql"]


@pytest.mark.parametrize("shown_by", ["check", "report"])
def test_a_revoked_key_is_dead_for_reports_and_checks_alike(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch, shown_by: str
) -> None:
    clock = Clock(monkeypatch)
    key, text = issue_sdk_key(integration)
    sdk = SdkClient(text)
    shown = sdk.check() if shown_by == "check" else sdk.report(record())
    assert shown.status_code in (200, 201)
    revoke_sdk_key(key)

    clock.ahead += 1.9

    answers = sdk.check(), sdk.report(record())
    assert [answer.status_code for answer in answers] == [401, 401]
    for answer in answers:
        assert "This SDK key is not valid here" in answer.content.decode()


def test_a_key_is_good_for_checks_and_reports_of_its_own_integration_alone(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    other, secret = make_integration(), sdk.key.split(":")[2]
    stitched = f"{other.tenant_id}:{other.id}:{secret}"
    assert sdk.check().status_code == 200

    assert caller_of(stitched, now=timezone.now()) is None
    assert verify_sdk_key(stitched, now=timezone.now()) is None


def test_a_deleted_integrations_key_reports_and_its_checks_are_told_why_not(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegrationService(integration.tenant).delete(integration)

    assert sdk.check().json()["reasons"][0]["code"] == "integration_not_found"
    assert sdk.report(record()).status_code == 201


@pytest.mark.parametrize("error", [DatabaseAbsent, DatabaseBusy])
def test_without_an_answer_the_last_one_stands_for_five_minutes(
    sdk: SdkClient, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    clock, now = Clock(monkeypatch), timezone.now()
    sdk.check()
    away(monkeypatch, error)

    clock.ahead = 290
    known = caller_of(sdk.key, now=now)
    assert known
    assert (known.verified, known.absent) == (True, error is DatabaseAbsent)
    clock.ahead = 301
    unknown = caller_of(sdk.key, now=now)
    assert unknown
    assert not unknown.verified


def test_a_key_that_expires_while_the_database_is_away_expires(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, now = Clock(monkeypatch), timezone.now()
    _, text = issue_sdk_key(integration, expires_at=now + timedelta(seconds=60))
    assert caller_of(text, now=now)
    away(monkeypatch, DatabaseAbsent)
    clock.ahead = 100

    assert caller_of(text, now=now + timedelta(seconds=59))
    assert caller_of(text, now=now + timedelta(seconds=60)) is None


def test_a_known_key_opens_no_other_integration_while_the_database_is_away(
    sdk: SdkClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, now, other = Clock(monkeypatch), timezone.now(), make_integration()
    stitched = f"{other.tenant_id}:{other.id}:{sdk.key.split(':')[2]}"
    assert caller_of(sdk.key, now=now)
    away(monkeypatch, DatabaseAbsent)
    clock.ahead = 100

    assert caller_of(sdk.key, now=now)
    assert caller_of(stitched, now=now) is None


def test_a_locked_table_of_keys_is_absence_and_not_load(sdk: SdkClient) -> None:
    sdk.check()
    key_uses.finish()
    database = str(connections["default"].settings_dict["NAME"])
    with pytest.MonkeyPatch.context() as patch, _superuser(database) as session:
        Clock(patch).ahead = 100
        with session.transaction():
            session.execute("LOCK TABLE cus_sdk_keys IN ACCESS EXCLUSIVE MODE")
            answer = sdk.check().json()

    assert (answer["result"], answer["degraded"]) == ("allowed", True)
    assert answer["reasons"][0]["code"] == "evidence_unavailable"


def test_a_checks_time_runs_while_its_request_waits_for_a_thread(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    assert sdk.check().json()["result"] == "allowed"
    body = {"call_id": "late", "estimated_cost_cents": 1}
    long_ago: Any = {ARRIVED: time.monotonic() - 60}

    answer = sdk.client.post(
        f"{ENFORCEMENT}/check", body, content_type="application/json", **long_ago
    ).json()

    assert (answer["result"], answer["reasons"][0]["code"]) == ("throttled", "contention")
    assert not answer["degraded"]
