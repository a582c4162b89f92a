"""Check whether an integration's provider answers and accepts the credential (CUS-004)."""

import math
import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import differences, record_change
from integrations.cus_credentials.models import CusCredential
from integrations.cus_credentials.sending import CusCredentialSender
from integrations.cus_health.models import CusHealthTransition
from integrations.cus_health.rules import NO_CREDENTIAL, HealthState, next_health
from integrations.cus_health.turns import turn
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_lifecycle.service import CusIntegrationLifecycle
from integrations.cus_notifications.announcing import Notice, announce
from integrations.cus_notifications.kinds import Kind
from integrations.cus_providers.probe_answers import Finding, Verdict
from integrations.cus_providers.safe_http import SECONDS, SafeHttp
from integrations.cus_web.errors import CusError

TESTS_A_MINUTE = 6
_MINUTE = timedelta(minutes=1)
# The time of a person's test, with waiting for its turn and asking the provider.
_TEST_SECONDS = 9.5
_TEST_WAIT_SECONDS = 2.0


class TestedTooOften(CusError):
    """This integration was tested six times within a minute. Wait a little."""

    code, status = "throttled", 429
    # Otherwise pytest would collect this class as a test.
    __test__ = False

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__()


@dataclass(frozen=True)
class CheckResult:
    """A check's finding, and the integration's state after the check."""

    verdict: Verdict
    message: str
    latency_ms: int | None
    health_state: str
    credential_state: str
    status: str
    # False: nothing was written, because the integration changed meanwhile or a later check exists.
    stored: bool

    @property
    def ok(self) -> bool:
        """Whether the provider answered and accepted the credential."""
        return self.verdict is Verdict.OK


@dataclass(frozen=True)
class _Seen:
    """The integration's values before a check. The result is dropped if they have changed since."""

    config_version: int
    credential_at: datetime | None
    # The state shown to people before the check; opening the credential may already change it.
    shown: tuple[str, str, str] = field(compare=False)


class CusHealthService:
    """Checks the integrations of one tenant. `http` sends the requests to providers."""

    def __init__(
        self, tenant: CusTenant, *, actor: CusUser | None = None, http: SafeHttp | None = None
    ) -> None:
        self.tenant = tenant
        self.actor = actor
        self.http = http or SafeHttp.from_settings()
        self._integrations = CusIntegrationLifecycle(tenant, actor=actor)

    def scope(self) -> QuerySet[CusIntegration]:
        """The tenant's integrations that are not deleted."""
        return self._integrations.scope()

    def test(self, integration: CusIntegration, *, now: datetime) -> CheckResult:
        """Run one check for a person, within 10 seconds.

        Raises TestedTooOften, CheckUnderWay.
        """
        self._count_test(integration.id, now)
        return self.check(
            integration, now=now, seconds=_TEST_SECONDS, wait_seconds=_TEST_WAIT_SECONDS
        )

    def check(
        self,
        integration: CusIntegration,
        *,
        now: datetime,
        seconds: float = SECONDS,
        wait_seconds: float = 0.0,
    ) -> CheckResult:
        """Run one check, and store its consequences. Raises CheckUnderWay.

        `seconds` bounds waiting and asking together, so it exceeds `wait_seconds`; asking takes at
        most 10 seconds. `now` is when the check begins.
        """
        until = time.monotonic() + seconds
        with turn(self.tenant.id, integration.id, wait_seconds=wait_seconds):
            current = self._integrations.get(integration.id)
            seen = _seen(current)
            sender = CusCredentialSender(self.tenant, self.http, actor=self.actor)
            finding = sender.ask(current, until=until)
            if finding.verdict in NO_CREDENTIAL:
                # Opening the credential has changed the row, and no provider was asked, so the
                # finding can't be outdated: compare with the row as it is now.
                seen = replace(_seen(self._integrations.get(integration.id)), shown=seen.shown)
            return self._store(current, finding, seen, now)

    @transaction.atomic
    def _store(
        self, checked: CusIntegration, finding: Finding, seen: _Seen, now: datetime
    ) -> CheckResult:
        """Store the result, unless the integration has changed or a later check is stored."""
        row = self.scope().select_for_update(no_key=True).filter(id=checked.id).first()
        if row is None or _seen(row) != seen or (row.health_checked_at or now) > now:
            return _result(finding, row or checked, stored=False)
        before = HealthState.of(row)
        after = next_health(before, finding.verdict, slow=_is_slow(finding))
        changes = differences(
            {"credential_state": before.credential_state},
            {"credential_state": after.credential_state},
        )
        self.scope().filter(id=row.id).update(
            **after.columns(),
            health_checked_at=now,
            health_message=finding.message,
            health_latency_ms=finding.latency_ms,
            # Decisions read the credential's state, not health (ruling F10).
            config_version=F("config_version") + int(bool(changes)),
        )
        if changes:
            record_change("integration.checked", row, actor=self.actor, changes=changes)
        self._move_status(row, before, after, finding.message)
        current = self._integrations.get(row.id)
        if _shown(current) != seen.shown:
            self._remember(seen.shown, current, finding, now)
            if _turned_invalid(seen.shown, current):
                announce(_notice(current, finding, now))
        return _result(finding, current, stored=True)

    def _move_status(
        self, row: CusIntegration, before: HealthState, after: HealthState, reason: str
    ) -> None:
        if before.in_error and not after.in_error:
            self._integrations.recover(row)
        # A disabled integration serves no program, so it need not be stopped.
        if after.in_error and not before.in_error and row.status != CusIntegration.Status.DISABLED:
            self._integrations.fail(row, reason)

    def _remember(
        self, was: tuple[str, str, str], after: CusIntegration, finding: Finding, now: datetime
    ) -> None:
        health, credential, status = was
        CusHealthTransition.objects.create(
            tenant=self.tenant,
            integration=after,
            checked_at=now,
            health_from=health,
            health_to=after.health_state,
            credential_from=credential,
            credential_to=after.credential_state,
            status_from=status,
            status_to=after.status,
            verdict=finding.verdict,
            message=finding.message,
            latency_ms=finding.latency_ms,
        )

    @transaction.atomic
    def _count_test(self, integration_id: uuid.UUID, now: datetime) -> None:
        """Count in the row itself, so that all processes share the count."""
        row = self.scope().select_for_update().get(id=integration_id)
        recent = [at for at in row.health_tests if now - _MINUTE < at]
        if len(recent) >= TESTS_A_MINUTE:
            wait = recent[-TESTS_A_MINUTE] + _MINUTE - now
            raise TestedTooOften(max(1, math.ceil(wait.total_seconds())))
        self.scope().filter(id=integration_id).update(health_tests=[*recent, now])


def _is_slow(finding: Finding) -> bool:
    return bool((finding.latency_ms or 0) >= settings.CUS_HEALTH_SLOW_MS)


def _shown(integration: CusIntegration) -> tuple[str, str, str]:
    return integration.health_state, integration.credential_state, integration.status


def _turned_invalid(was: tuple[str, str, str], now_is: CusIntegration) -> bool:
    invalid = CusIntegration.CredentialState.INVALID
    return now_is.credential_state == invalid and was[1] != invalid


def _notice(integration: CusIntegration, finding: Finding, now: datetime) -> Notice:
    """What people are told of a credential that turned invalid."""
    return Notice(
        tenant_id=integration.tenant_id,
        integration_id=integration.id,
        kind=Kind.CREDENTIAL_INVALID,
        subject="credential",
        window_start=now,
        summary=f"The credential of {integration.name} is not valid, so its calls are refused: "
        f"{finding.message}",
        path=f"/console/integrations/{integration.id}",
        details={"verdict": finding.verdict.value},
    )


def _seen(integration: CusIntegration) -> _Seen:
    stored = CusCredential.objects.filter(integration=integration)
    stored_at = stored.values_list("updated_at", flat=True).first()
    return _Seen(integration.config_version, stored_at, _shown(integration))


def _result(finding: Finding, now_is: CusIntegration, *, stored: bool) -> CheckResult:
    return CheckResult(
        verdict=finding.verdict,
        message=finding.message,
        latency_ms=finding.latency_ms,
        health_state=now_is.health_state,
        credential_state=now_is.credential_state,
        status=now_is.status,
        stored=stored,
    )
