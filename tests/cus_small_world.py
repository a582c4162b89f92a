"""A small world that every page has something to show of."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import ModelEntry

from aos_project.celery import app
from aos_project.cus_schedule import BEAT_SCHEDULE
from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.password_hashing import CusArgon2PasswordHasher
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_currency.service import CusDisplayRateService
from integrations.cus_increases.service import CusIncreaseService, Which
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.service import CusLimitService
from integrations.cus_prices.service import CusPriceOverrideService
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_clock import database_now
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_seals.service import CusSealService
from tests.cus_factories import (
    SdkClient,
    correct,
    make_integration,
    make_user,
    record,
    signed_in,
    turn_health,
)
from tests.cus_limits import make_run_limit

PASSWORD = "correct horse battery"
STAFF = ("operator", "support", "finance")
ROLES = (*STAFF, "admin", "member")
_CALLS = 40


@dataclass(frozen=True)
class World:
    """A tenant with people of every role, and an integration with calls and refusals."""

    tenant: CusTenant
    people: dict[str, CusUser]
    integration: CusIntegration
    call_id: str
    refused_call_id: str

    def session_of(self, role: str) -> str:
        """The key of a new session of the person, who has just proved who they are."""
        return str(signed_in(self.people[role]).cookies["sessionid"].value)


def make_world(tenant: CusTenant) -> World:
    """The world of this tenant. Committed: a served product shows it."""
    people = {role: _person(role, tenant) for role in ROLES}
    integration = make_integration(
        tenant, name="Support chat", budget_limit_cents=2_000, default_model="gpt-4o"
    )
    make_integration(tenant, name="Search", provider_type="anthropic")
    sdk = SdkClient.of(integration)
    start = datetime.now(UTC)
    calls = [_call(number, start) for number in range(_CALLS)]
    assert sdk.report_batch(*calls).json()["accepted"] == _CALLS
    refused = f"refused-{uuid.uuid4().hex[:8]}"
    sdk.check(refused, estimated_cost_cents=900_000, reserve=False)
    correct(CusLLMUsage.objects.get(call_id=calls[0]["call_id"]), by_microcents=-1_000)
    _of_authority(tenant, integration, people["member"])
    _limits(integration, people["member"])
    make_run_limit(integration, "weekly-report", cents=100)
    _run_jobs()
    rollup_usage(database_now() + timedelta(minutes=11), within=timedelta(seconds=60))
    list(CusSealService(tenant.id).seal_due(database_now() + timedelta(days=1, hours=2)))
    return World(tenant, people, integration, str(calls[0]["call_id"]), refused)


def _run_jobs() -> None:
    """All jobs ran just now, but one that is hours late."""
    now = timezone.now()
    for name, job in BEAT_SCHEDULE.items():
        ModelEntry.from_entry(name, app=app, **job)
    ran = PeriodicTask.objects.filter(name__in=BEAT_SCHEDULE)
    ran.update(last_run_at=now, total_run_count=1_440)
    ran.filter(name="cus-seal-evidence").update(last_run_at=now - timedelta(hours=4))


def _person(role: str, tenant: CusTenant) -> CusUser:
    user = make_user(role, None if role in STAFF else tenant)
    # The served product knows no other way than its own.
    hasher = CusArgon2PasswordHasher()
    user.password = hasher.encode(PASSWORD, hasher.salt())
    user.save(update_fields=["password"])
    return user


def _call(number: int, start: datetime) -> dict[str, object]:
    at = start - timedelta(minutes=7 * number)
    return record(
        call_id=f"call-{uuid.uuid4().hex[:12]}",
        model=("gpt-4o", "gpt-4o-mini")[number % 2],
        tokens_in=1_000 + 137 * number,
        tokens_out=40 + number,
        cost_cents=None,
        latency_ms=300 + 20 * number,
        agent_id=("planner", "writer", None)[number % 3],
        session_id=f"session-{number // 8}",
        timestamp=at.isoformat(),
        **({"error_code": "RateLimitError", "error_message": "slow down"} if number == 5 else {}),
        **({"process_id": "worker-1", "sequence": number + 1} if number != 3 else {}),
    )


def _limits(integration: CusIntegration, member: CusUser) -> None:
    """Limits of each kind of use, and a request for more."""
    now = timezone.now()
    service = CusLimitService(integration)
    of_each = service.create(
        now=now, scope="agent_id", unit="tokens", window="day", amount=40_000, reason="Loops."
    )
    service.create(
        now=now, scope="session_id", value="session-1", unit="cents", window="life", amount=100
    )
    service.create(
        now=now,
        scope="tenant",
        unit="calls",
        window="month",
        amount=1_000_000,
        valid_until=now + timedelta(days=2),
    )
    CusIncreaseService(integration.tenant, actor=member).ask(
        integration,
        Which(limit=of_each, value="planner"),
        now=now,
        amount=90_000,
        valid_until=now + timedelta(days=1),
        reason="The planner reads the handbook today.",
    )


def _of_authority(tenant: CusTenant, integration: CusIntegration, member: CusUser) -> None:
    CusPriceOverrideService(tenant).append(
        model="our-own-model",
        prices={"input": "1", "output": "2"},
        valid_from=datetime(2026, 11, 1, tzinfo=UTC),
    )
    CusDisplayRateService(tenant).append(
        currency="EUR", rate="0.92", valid_from=datetime(2026, 11, 1, tzinfo=UTC)
    )
    CusTokenService(member).issue(name="Nightly export", now=timezone.now())
    message = "The provider took 5.2 seconds to answer."
    turn_health(integration, "unknown", "degraded", message=message)
