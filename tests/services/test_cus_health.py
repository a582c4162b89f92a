"""A check of an integration, from the provider's answer to the row and its history."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_credentials.models import CusCredential
from integrations.cus_health import turns
from integrations.cus_health.models import CusHealthTransition
from integrations.cus_health.service import CheckResult, CusHealthService, TestedTooOften
from integrations.cus_health.turns import CheckUnderWay, turn
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers.probe_answers import Verdict
from integrations.cus_providers.safe_http import SafeHttp, SafeResponse
from tests.cus_factories import as_written, make_integration, make_tenant, make_user
from tests.cus_raw_server import Behaviour, RawServer, says

pytestmark = pytest.mark.django_db

KEY = "canary-0123456789abcdef"
GOOD = says(200, {"object": "list", "data": []})
BAD_KEY = says(401, {"error": {"message": f"Wrong key {KEY}", "code": "x"}})
DOWN = says(503, b"")
REFUSED = says(404, {"error": {"message": "No such path"}})
START = timezone.now()


class Provider:
    """A custom provider that answers as it is told to, with an integration of its own."""

    def __init__(self, server: RawServer, tenant: CusTenant) -> None:
        self.server = server
        self.integration = make_integration(
            tenant,
            provider_type="custom",
            config={"base_url": server.url},
            credential={"api_key": KEY},
        )
        self.service = CusHealthService(tenant)
        self.now = START
        self.answer: Behaviour = GOOD

    def check(self, *answers: Behaviour) -> CheckResult:
        """One check an answer; the last one's result."""
        for answer in answers:
            self.answer = answer
            self.now += timedelta(minutes=5)
            result = self.service.check(self.integration, now=self.now)
        self.integration.refresh_from_db()
        return result


@pytest.fixture
def provider(tenant: CusTenant, settings: Settings) -> Iterator[Provider]:
    holder: list[Provider] = []
    with RawServer(lambda client, head: holder[0].answer(client, head)) as server:
        settings.CUS_ALLOW_HTTP_PROVIDERS = True
        settings.CUS_ALLOWED_PRIVATE_HOSTS = [f"127.0.0.1:{server.port}"]
        # On a busy machine even a local answer may take its time.
        settings.CUS_HEALTH_SLOW_MS = 60_000
        holder.append(Provider(server, tenant))
        yield holder[0]


def test_a_check_is_kept_with_its_time_and_its_message(provider: Provider) -> None:
    result = provider.check(GOOD)
    row = provider.integration

    assert result.ok
    assert result.stored
    assert (row.health_state, row.credential_state) == ("healthy", "valid")
    assert row.health_checked_at == provider.now
    assert row.health_latency_ms == result.latency_ms
    assert row.health_message == "The provider answered."
    assert provider.server.headers()["authorization"] == f"Bearer {KEY}"


def test_an_outage_blocks_nobody(provider: Provider) -> None:
    provider.check(GOOD)
    version = provider.integration.config_version

    result = provider.check(*[DOWN] * 20)

    assert (result.health_state, result.credential_state) == ("failing", "valid")
    assert provider.integration.status == "enabled"
    # Nothing that a decision reads has changed, so no SDK fetches its configuration anew.
    assert provider.integration.config_version == version


def test_a_revoked_key_makes_the_credential_invalid_after_two_checks(provider: Provider) -> None:
    provider.check(GOOD)
    version = provider.integration.config_version

    assert provider.check(BAD_KEY).credential_state == "valid"
    assert provider.integration.config_version == version
    assert provider.check(BAD_KEY).credential_state == "invalid"
    assert provider.integration.config_version == version + 1
    assert provider.check(BAD_KEY).credential_state == "invalid"
    assert provider.integration.config_version == version + 1

    assert provider.check(GOOD).credential_state == "valid"
    assert provider.integration.config_version == version + 2
    healed = CusAuditEntry.objects.get(
        action="integration.checked",
        changes={"credential_state": {"from": "invalid", "to": "valid"}},
    )
    assert healed.actor_label == "system"


def test_a_new_key_is_not_blamed_for_the_old_one(provider: Provider) -> None:
    provider.check(GOOD, BAD_KEY)
    CusIntegrationService(provider.integration.tenant).change(
        provider.integration.id, credential={"api_key": "another-key-0123456789"}
    )

    assert provider.check(BAD_KEY).credential_state == "unknown"
    assert provider.check(BAD_KEY).credential_state == "invalid"


def test_a_refused_configuration_is_an_error_after_three_checks_and_a_pass_lifts_it(
    provider: Provider,
) -> None:
    assert provider.check(GOOD, REFUSED, REFUSED).status == "enabled"
    assert provider.check(REFUSED).status == "error"
    assert "No such path" in (provider.integration.error_reason or "")

    assert provider.check(DOWN).status == "error"
    assert provider.check(GOOD).status == "enabled"
    assert provider.integration.error_reason is None


def test_another_configuration_is_not_blamed_for_the_one_before(provider: Provider) -> None:
    provider.check(REFUSED, REFUSED)
    CusIntegrationService(provider.integration.tenant).change(
        provider.integration.id,
        config={"base_url": provider.server.url, "health_path": "/health"},
    )

    assert provider.check(REFUSED).status == "enabled"


def test_one_that_was_disabled_is_not_put_in_error(provider: Provider) -> None:
    CusIntegrationService(provider.integration.tenant).disable(provider.integration)

    assert provider.check(REFUSED, REFUSED, REFUSED, REFUSED).status == "disabled"
    assert CusHealthTransition.objects.count() == 2


def test_a_credential_that_can_not_be_decrypted_is_a_state_and_a_message(
    provider: Provider,
) -> None:
    CusCredential.objects.update(sealed=b"\1nonsense")

    result = provider.check(GOOD)

    assert result.verdict is Verdict.CREDENTIAL_UNREADABLE
    assert (result.credential_state, result.status) == ("invalid", "error")
    assert "Enter it again" in result.message
    assert provider.server.connections == 0


def test_a_missing_credential_is_invalid_at_once(provider: Provider) -> None:
    CusCredential.objects.all().delete()

    result = provider.check(GOOD)

    assert result.verdict is Verdict.CREDENTIAL_MISSING
    assert (result.credential_state, result.status) == ("invalid", "enabled")
    assert provider.server.connections == 0


def test_what_the_provider_echoes_is_kept_nowhere(provider: Provider) -> None:
    result = provider.check(BAD_KEY, BAD_KEY)

    assert "Wrong key [masked]" in result.message
    with connection.cursor() as cursor:
        for table in ("cus_integrations", "cus_health_transitions", "cus_audit_trail"):
            cursor.execute(f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE %s", [f"%{KEY}%"])
            assert cursor.fetchone() == (0,)


# --- History ------------------------------------------------------------------------------------


def test_the_history_has_a_row_a_transition_and_none_a_check(provider: Provider) -> None:
    provider.check(GOOD, GOOD, GOOD, DOWN, DOWN, DOWN, DOWN, GOOD, GOOD, GOOD)

    rows = CusHealthTransition.objects.order_by("checked_at")
    assert [(row.health_from, row.health_to) for row in rows] == [
        ("unknown", "healthy"),
        ("healthy", "degraded"),
        ("degraded", "failing"),
        ("failing", "degraded"),
        ("degraded", "healthy"),
    ]
    assert [row.verdict for row in rows] == ["ok", *["provider_down"] * 2, "ok", "ok"]


@pytest.mark.parametrize("statement", ["UPDATE {} SET message = ''", "DELETE FROM {}"])
def test_the_history_can_not_be_rewritten(provider: Provider, statement: str) -> None:
    provider.check(GOOD)

    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format("cus_health_transitions"))


@pytest.mark.parametrize("broken", ["missing", "unreadable"])
def test_a_credential_that_can_not_be_opened_is_in_history_and_trail(
    provider: Provider, broken: str
) -> None:
    provider.check(GOOD)
    stored = CusCredential.objects.all()
    _ = stored.delete() if broken == "missing" else stored.update(sealed=b"\1nonsense")

    provider.check(GOOD, GOOD)

    row = CusHealthTransition.objects.latest("checked_at")
    assert CusHealthTransition.objects.count() == 2
    assert (row.credential_from, row.credential_to) == ("valid", "invalid")
    assert (row.status_from, row.status_to) == ("enabled", provider.integration.status)
    entries = as_written(CusAuditEntry.objects.filter(action="integration.checked"))
    assert [entry.changes["credential_state"] for entry in entries] == [
        {"from": "unknown", "to": "valid"},
        {"from": "valid", "to": "invalid"},
    ]


# --- Conditional writing ------------------------------------------------------------------------


def _meanwhile(provider: Provider, do: Callable[[], object]) -> CheckResult:
    """A check during which, while the provider is being asked, something else happens."""
    http = provider.service.http

    class Meanwhile(SafeHttp):
        """Asks as ever; before the answer is dealt with, the rest of the world goes on."""

        def get(self, *arguments: Any, **options: Any) -> SafeResponse:
            found = http.get(*arguments, **options)
            do()
            return found

    provider.service.http = Meanwhile()
    return provider.check(BAD_KEY)


def test_a_result_about_another_credential_is_dropped(provider: Provider) -> None:
    services = CusIntegrationService(provider.integration.tenant)

    result = _meanwhile(
        provider,
        lambda: services.change(
            provider.integration.id, credential={"api_key": "another-key-0123456789"}
        ),
    )

    assert not result.stored
    assert provider.integration.health_checked_at is None
    assert provider.integration.consecutive_bad_keys == 0


def test_a_result_about_a_credential_sealed_anew_is_dropped(provider: Provider) -> None:
    result = _meanwhile(provider, lambda: CusCredential.objects.update(updated_at=timezone.now()))
    assert not result.stored


def test_an_older_check_does_not_overwrite_a_later_one(provider: Provider) -> None:
    later = START + timedelta(hours=1)

    result = _meanwhile(
        provider,
        lambda: CusIntegration.objects.update(health_checked_at=later, health_state="healthy"),
    )

    assert not result.stored
    assert provider.integration.health_checked_at == later
    assert provider.integration.health_state == "healthy"


def test_a_result_about_a_deleted_integration_is_dropped(provider: Provider) -> None:
    services = CusIntegrationService(provider.integration.tenant)

    assert not _meanwhile(provider, lambda: services.delete(provider.integration)).stored
    assert not CusHealthTransition.objects.exists()


# --- Tests that people ask for ------------------------------------------------------------------


def test_an_integration_is_tested_six_times_a_minute_at_most(provider: Provider) -> None:
    def test(at: datetime) -> CheckResult:
        return provider.service.test(provider.integration, now=at)

    for second in range(6):
        assert test(START + timedelta(seconds=second)).ok
    with pytest.raises(TestedTooOften) as refusal:
        test(START + timedelta(seconds=20))
    assert refusal.value.retry_after_seconds == 40
    assert provider.server.connections == 6

    assert test(START + timedelta(seconds=60)).ok
    with pytest.raises(TestedTooOften):
        test(START + timedelta(seconds=60))


def test_another_integration_has_six_tests_of_its_own(provider: Provider) -> None:
    other = make_integration(
        provider.integration.tenant, provider_type="custom", config=provider.integration.config
    )
    for _ in range(6):
        provider.service.test(provider.integration, now=START)

    assert provider.service.test(other, now=START).ok


def test_the_person_who_tested_is_in_the_audit_trail(provider: Provider) -> None:
    operator = make_user("operator")
    service = CusHealthService(provider.integration.tenant, actor=operator)

    service.test(provider.integration, now=START)

    assert CusAuditEntry.objects.get(action="integration.checked").actor == operator


# --- Turns --------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """Another process' connection: an advisory lock is a session's."""
    with psycopg.connect(**connections["default"].get_connection_params()) as other:
        other.autocommit = True
        yield other


def _hold(other: "psycopg.Connection[Any]", kind: str, owner: Any) -> None:
    key = turns._key(kind, owner)
    assert other.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone() == (True,)


def test_a_check_that_is_under_way_is_not_started_again(
    provider: Provider, elsewhere: "psycopg.Connection[Any]"
) -> None:
    _hold(elsewhere, "integration", provider.integration.id)

    with pytest.raises(CheckUnderWay):
        provider.check(GOOD)
    assert provider.server.connections == 0


def test_two_of_a_tenant_are_checked_at_a_time_and_another_tenant_meanwhile(
    provider: Provider, elsewhere: "psycopg.Connection[Any]"
) -> None:
    tenant = provider.integration.tenant
    _hold(elsewhere, "place 0", tenant.id)
    provider.check(GOOD)
    _hold(elsewhere, "place 1", tenant.id)

    with pytest.raises(CheckUnderWay):
        provider.check(GOOD)
    with turn(make_tenant().id, provider.integration.id):
        pass
    # The integration's own lock was given back by the check that found no place.
    key = turns._key("integration", provider.integration.id)
    assert elsewhere.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone() == (True,)


_HOLDS_A_TURN = """
import os, psycopg, sys, time
other = psycopg.connect(os.environ["DATABASE_URL"], dbname=sys.argv[1], autocommit=True)
other.execute("SELECT pg_advisory_lock(%s)", [int(sys.argv[2])])
print("held", flush=True)
time.sleep(600)
"""


def test_a_killed_workers_turn_ends_with_it(provider: Provider) -> None:
    key = turns._key("integration", provider.integration.id)
    database = connections["default"].settings_dict["NAME"]
    command = [sys.executable, "-c", _HOLDS_A_TURN, database, str(key)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout
        assert worker.stdout.readline() == b"held\n"
        with pytest.raises(CheckUnderWay):
            provider.check(GOOD)
        worker.kill()

    assert provider.service.check(provider.integration, now=START, wait_seconds=60).ok


def test_who_waits_gets_the_turn_when_it_is_free(
    provider: Provider, elsewhere: "psycopg.Connection[Any]"
) -> None:
    _hold(elsewhere, "integration", provider.integration.id)
    soon = threading.Timer(0.3, lambda: elsewhere.execute("SELECT pg_advisory_unlock_all()"))
    soon.start()

    assert provider.service.check(provider.integration, now=START, wait_seconds=60).ok
    soon.join()


def test_the_turn_is_given_back_when_the_check_breaks(
    provider: Provider, elsewhere: "psycopg.Connection[Any]"
) -> None:
    with pytest.raises(ZeroDivisionError):
        with turn(provider.integration.tenant_id, provider.integration.id):
            raise ZeroDivisionError
    _hold(elsewhere, "integration", provider.integration.id)
    _hold(elsewhere, "place 0", provider.integration.tenant_id)
