"""Is the integration's provider there, and does it accept the credential? (CUS-004)"""

import math
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.db.models import F, QuerySet

from integrations.cus_credential_service import CusCredentialService
from integrations.cus_errors import CredentialUnreadable, CusError
from integrations.cus_health_models import CusHealthTransition
from integrations.cus_health_rules import HealthState, next_health
from integrations.cus_health_turns import turn
from integrations.cus_models import CusCredential, CusIntegration, CusTenant, CusUser
from integrations.cus_probe_answers import Finding, Verdict
from integrations.cus_provider_probes import PROBES, CredentialMissing
from integrations.cus_safe_http import SECONDS, SafeHttp

TESTS_A_MINUTE = 6
_MINUTE = timedelta(minutes=1)
# A person's test in all: waiting for its turn, and asking.
_TEST_SECONDS = 9.5
_TEST_WAIT_SECONDS = 2.0


class TestedTooOften(CusError):
    """This integration was tested six times within a minute. Wait a little."""

    code, status = "throttled", 429
    # Or pytest takes it for a test.
    __test__ = False

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__()


@dataclass(frozen=True)
class CheckResult:
    """What a check found, and what the integration is now."""

    verdict: Verdict
    message: str
    latency_ms: int | None
    health_state: str
    credential_state: str
    status: str
    # False: the integration changed meanwhile, or a later check is known. Nothing was written.
    stored: bool

    @property
    def ok(self) -> bool:
        """Whether the provider answered and accepted the credential."""
        return self.verdict is Verdict.OK


@dataclass(frozen=True)
class _Seen:
    """What a check is about: its result says nothing of an integration that is another by then."""

    config_version: int
    credential_at: datetime | None


class CusHealthService:
    """Checks the integrations of one tenant. `http` is what they are asked over."""

    def __init__(
        self, tenant: CusTenant, *, actor: CusUser | None = None, http: SafeHttp | None = None
    ) -> None:
        self.tenant = tenant
        self.actor = actor
        self.http = http or SafeHttp.from_settings()

    def scope(self) -> QuerySet[CusIntegration]:
        """The tenant's integrations that are not deleted."""
        return CusIntegration.objects.filter(tenant=self.tenant, deleted_at__isnull=True)

    def test(self, integration: CusIntegration, *, now: datetime) -> CheckResult:
        """One check that a person asked for, within 10 seconds.

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
        """One check, and what it means for the integration. Raises CheckUnderWay.

        `seconds` are for waiting and asking together; `now` is when the check begins.
        """
        began = time.monotonic()
        with turn(self.tenant.id, integration.id, wait_seconds=wait_seconds):
            current = self.scope().get(id=integration.id)
            seen = self._seen(current)
            finding = self._ask(current, seconds - (time.monotonic() - began))
            return self._store(current, finding, seen, now)

    def _ask(self, integration: CusIntegration, seconds: float) -> Finding:
        try:
            credential = CusCredentialService(self.tenant).open(integration)
        except CredentialUnreadable as error:
            return Finding(Verdict.CREDENTIAL_UNREADABLE, error.detail)
        except ObjectDoesNotExist:
            return Finding(Verdict.CREDENTIAL_MISSING, CredentialMissing().detail)
        except CusError as error:
            return Finding(Verdict.NOT_CHECKABLE, error.detail)
        probe = PROBES[integration.provider_type](integration.config, credential)
        return probe.ask(self.http, seconds=seconds).without(credential.values())

    def _seen(self, integration: CusIntegration) -> _Seen:
        stored = CusCredential.objects.filter(tenant=self.tenant, integration=integration)
        return _Seen(
            integration.config_version, stored.values_list("updated_at", flat=True).first()
        )

    @transaction.atomic
    def _store(
        self, checked: CusIntegration, finding: Finding, seen: _Seen, now: datetime
    ) -> CheckResult:
        """Take the result in, unless the integration is another by now or a later check is known."""
        row = self.scope().select_for_update().filter(id=checked.id).first()
        if row is None or self._seen(row) != seen or (row.health_checked_at or now) > now:
            return _result(finding, HealthState.of(row or checked), stored=False)
        before = HealthState.of(row)
        after = next_health(before, finding.verdict, slow=_is_slow(finding))
        self.scope().filter(id=row.id).update(
            **asdict(after),
            health_checked_at=now,
            health_message=finding.message,
            health_latency_ms=finding.latency_ms,
            config_version=F("config_version") + (0 if after.decides_like(before) else 1),
        )
        if not after.looks_like(before):
            self._remember(row, before, after, finding, now)
        return _result(finding, after, stored=True)

    def _remember(
        self,
        row: CusIntegration,
        before: HealthState,
        after: HealthState,
        finding: Finding,
        now: datetime,
    ) -> None:
        CusHealthTransition.objects.create(
            tenant=self.tenant,
            integration=row,
            checked_at=now,
            health_from=before.health_state,
            health_to=after.health_state,
            credential_from=before.credential_state,
            credential_to=after.credential_state,
            status_from=before.status,
            status_to=after.status,
            verdict=finding.verdict,
            message=finding.message,
            latency_ms=finding.latency_ms,
        )

    @transaction.atomic
    def _count_test(self, integration_id: uuid.UUID, now: datetime) -> None:
        """Count in the row itself: every process sees the same."""
        row = self.scope().select_for_update().get(id=integration_id)
        recent = [at for at in row.health_tests if now - _MINUTE < at]
        if len(recent) >= TESTS_A_MINUTE:
            wait = recent[-TESTS_A_MINUTE] + _MINUTE - now
            raise TestedTooOften(max(1, math.ceil(wait.total_seconds())))
        self.scope().filter(id=integration_id).update(health_tests=[*recent, now])


def _is_slow(finding: Finding) -> bool:
    return bool((finding.latency_ms or 0) >= settings.CUS_HEALTH_SLOW_MS)


def _result(finding: Finding, state: HealthState, *, stored: bool) -> CheckResult:
    return CheckResult(
        verdict=finding.verdict,
        message=finding.message,
        latency_ms=finding.latency_ms,
        health_state=state.health_state,
        credential_state=state.credential_state,
        status=state.status,
        stored=stored,
    )
