"""What is left of an integration's limits: from the evidence, with what is held."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from integrations.cus_lifecycle.limits import month_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease
from telemetry.cus_ids import uuid7
from tests.cus_factories import SdkClient, correct, make_user, record, signed_in

pytestmark = pytest.mark.django_db


def _limits(integration: CusIntegration) -> Any:
    client = signed_in(make_user("member", integration.tenant))
    answer = client.get(f"/api/v1/cus/integrations/{integration.id}/limits")
    assert answer.status_code == 200
    return answer.json()


def _hold(integration: CusIntegration, call_id: str, **fields: Any) -> None:
    values: dict[str, Any] = {
        "cents": 3,
        "microcents": 2_500_000,
        "tokens": 40,
        "expires_at": timezone.now() + timedelta(minutes=15),
    }
    CusEnforcementHold.objects.create(
        tenant_id=integration.tenant_id,
        integration_id=integration.id,
        call_id=call_id,
        **(values | fields),
    )


def test_without_limits_and_calls_nothing_is_used_and_nothing_remains_to_say(
    integration: CusIntegration,
) -> None:
    answer = _limits(integration)

    none = {"limit": None, "used": 0, "held": 0, "remaining": None, "percent": None}
    assert (answer["budget"], answer["token_limit"], answer["rate_limit_rpm"]) == (none, none, None)
    assert answer["calls"] == answer["cost_cents"] == answer["held_calls"] == 0


def test_calls_holds_leases_and_corrections_add_up(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.update(
        budget_limit_cents=10, token_limit_month=10_000, rate_limit_rpm=60
    )
    for _ in range(2):
        sdk.report(record())
    sdk.report(record(policy_result="blocked", tokens_in=0, tokens_out=0, cost_cents=0))
    correct(CusLLMUsage.objects.filter(cost_microcents__gt=0)[0], by_microcents=250_000)
    _hold(integration, "running")
    CusEnforcementLease.objects.create(
        tenant_id=integration.tenant_id,
        id=uuid7(),
        integration_id=integration.id,
        holder_id="h",
        cents=2,
        microcents=1_000_000,
        tokens=60,
        calls=4,
        expires_at=timezone.now() + timedelta(minutes=1),
    )

    answer = _limits(integration)

    assert (answer["calls"], answer["blocked_calls"], answer["tokens"]) == (2, 1, 3000)
    assert (answer["cost_cents"], answer["cost_microcents"]) == (2, 1_750_000)
    assert answer["correction_microcents"] == 250_000
    assert (answer["held_calls"], answer["held_cents"]) == (5, 5)
    assert (answer["held_microcents"], answer["held_tokens"]) == (3_500_000, 100)
    assert answer["budget"] == {
        "limit": 10_000_000,
        "used": 2_000_000,
        "held": 5_000_000,
        "remaining": 3_000_000,
        "percent": 70.0,
    }
    assert answer["token_limit"] == {
        "limit": 10_000,
        "used": 3000,
        "held": 100,
        "remaining": 6900,
        "percent": 31.0,
    }
    assert answer["rate_limit_rpm"] == 60


def test_on_the_exact_basis_the_budget_is_counted_in_microcents(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.update(budget_limit_cents=1, budget_basis="exact")
    sdk.report(record())
    _hold(integration, "running")

    answer = _limits(integration)

    assert answer["budget"]["used"] == 750_000
    assert answer["budget"]["held"] == 2_500_000
    assert (answer["budget"]["remaining"], answer["budget"]["percent"]) == (0, 325.0)


@pytest.mark.parametrize("days", [-40, 40])
def test_the_month_is_the_databases_however_wrong_the_web_servers_clock_is(
    days: int, integration: CusIntegration, sdk: SdkClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk.report(record())
    right = _limits(integration)
    wrong = timezone.now() + timedelta(days=days)
    monkeypatch.setattr(timezone, "now", lambda: wrong)

    assert _limits(integration) == right
    assert right["calls"] == 1


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), (2026, 12, 1), (2027, 1, 1)),
        (datetime(2027, 1, 1, tzinfo=UTC), (2027, 1, 1), (2027, 2, 1)),
        (datetime(2024, 2, 29, 12, tzinfo=UTC), (2024, 2, 1), (2024, 3, 1)),
    ],
)
def test_a_month_begins_and_ends_in_utc(
    now: datetime, start: tuple[int, int, int], end: tuple[int, int, int]
) -> None:
    assert month_of(now) == (datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC))
