"""Tokens a minute and calls a day (ruling F4a): what counts when, in checks and in leases."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_checks.service import CusEnforcementService
from enforcement.cus_rules.precedence import Decision
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.admission_models import CusLandedAdmissions, CusRunningAdmissions
from telemetry.cus_holds.sweeping import sweep
from tests.conftest import _superuser, as_if
from tests.cus_factories import ENFORCEMENT, SdkClient, record, set_aside, unmeasured
from tests.enforcement.test_cus_leases import caller_of
from tests.trust.cus_audit import holds_findings, landed_findings

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def limit(integration: CusIntegration) -> Any:
    """Sets limits of the integration."""

    def set_limits(**columns: Any) -> None:
        CusIntegration.objects.filter(id=integration.id).update(**columns)

    return set_limits


@pytest.fixture(autouse=True)
def audited() -> Iterator[None]:
    """At the end, all buckets are the sums of what they count."""
    yield
    with _superuser(str(connections["default"].settings_dict["NAME"])) as one:
        assert [*holds_findings(one), *landed_findings(one)] == []


def check(
    integration: CusIntegration, call_id: str, tokens: int = 10, *, at: datetime | None = None
) -> Decision:
    request = CheckRequest(call_id=call_id, model="gpt-4o", estimated_tokens=tokens)
    return CusEnforcementService(caller_of(integration), at=at).check(request).decision


def reason(decision: Decision) -> tuple[str, str, str | None]:
    found = decision.reasons[0]
    return str(decision.result), found.code, found.limit_type


PASSED = ("allowed", "all_checks_passed", None)
TOKENS = ("throttled", "rate_limit_exceeded", "tpm")
CALLS = ("throttled", "rate_limit_exceeded", "rpd")


# --- Tokens a minute ----------------------------------------------------------------------------


def test_a_running_call_counts_its_estimate_and_a_landed_call_what_it_used(
    integration: CusIntegration, sdk: SdkClient, limit: Any
) -> None:
    limit(rate_limit_tpm=1_000)
    assert reason(check(integration, "first", 900)) == PASSED
    refused = check(integration, "second", 200)
    assert reason(refused) == TOKENS
    assert refused.retry_after_seconds == 60
    found = refused.reasons[0]
    assert (found.limit_value, found.current_value) == (1_000, 900)

    sdk.report(record(call_id="first", tokens_in=600, tokens_out=200))
    assert reason(check(integration, "second", 200)) == PASSED
    assert reason(check(integration, "third", 1)) == TOKENS


def test_a_call_counts_for_a_minute_from_its_admission(
    integration: CusIntegration, sdk: SdkClient, limit: Any
) -> None:
    limit(rate_limit_tpm=1_000)
    now = timezone.now()
    check(integration, "runs", 500)
    check(integration, "lands", 500)
    sdk.report(record(call_id="lands", tokens_in=500, tokens_out=0))

    assert reason(check(integration, "third", at=now + timedelta(seconds=59))) == TOKENS
    assert reason(check(integration, "third", at=now + timedelta(seconds=65))) == PASSED


def test_a_check_does_not_count_the_hold_of_its_own_call(
    integration: CusIntegration, limit: Any
) -> None:
    limit(rate_limit_tpm=1_000)
    assert reason(check(integration, "first", 600)) == PASSED
    assert reason(check(integration, "first", 1_000)) == PASSED
    assert reason(check(integration, "second", 1)) == TOKENS


def test_in_one_batch_each_call_counts_the_tokens_of_those_before_it(
    integration: CusIntegration, limit: Any
) -> None:
    limit(rate_limit_tpm=1_000, rate_limit_rpd=3)
    service = CusEnforcementService(caller_of(integration))
    asked = [CheckRequest(f"call-{number}", "gpt-4o", tokens) for number, tokens in
             enumerate((600, 500, 300, 100, 1))]  # fmt: skip
    found = [reason(verdict.decision) for verdict in service.check_batch(asked)]
    assert found == [PASSED, TOKENS, PASSED, PASSED, TOKENS]


def test_a_call_that_is_larger_than_the_limit_is_told_to_ask_for_less(
    integration: CusIntegration, limit: Any
) -> None:
    limit(rate_limit_tpm=1_000)
    found = check(integration, "large", 1_001)
    assert reason(found) == ("throttled", "estimate_exceeds_room", "tpm")
    assert found.reasons[0].action.startswith("Set max_tokens")


def test_refused_calls_and_replayed_spools_count_nothing(
    integration: CusIntegration, sdk: SdkClient, limit: Any
) -> None:
    limit(rate_limit_tpm=100, rate_limit_rpd=1)
    long_ago = (timezone.now() - timedelta(minutes=5)).isoformat()
    sdk.report(record(timestamp=long_ago))
    refused = {"policy_result": "blocked", "error_code": "cus_throttled", "cost_cents": 0}
    sdk.report(record(tokens_in=0, tokens_out=0, **refused))
    assert reason(check(integration, "first", 100)) == PASSED


def test_a_call_that_was_not_checked_counts_by_its_receipt(
    integration: CusIntegration, sdk: SdkClient, limit: Any
) -> None:
    limit(rate_limit_tpm=1_000)
    sdk.report(record(tokens_in=900, tokens_out=100))
    assert reason(check(integration, "first", 1)) == TOKENS


def test_a_call_of_unknown_usage_counts_what_was_held_for_it(
    integration: CusIntegration, sdk: SdkClient, limit: Any
) -> None:
    limit(rate_limit_tpm=1_000)
    check(integration, "unknown", 900)
    sdk.report(unmeasured(call_id="unknown"))
    assert reason(check(integration, "next", 101)) == TOKENS
    assert reason(check(integration, "next", 100)) == PASSED


# --- Calls a day --------------------------------------------------------------------------------


def test_a_limit_of_calls_a_day_waits_until_midnight(
    integration: CusIntegration, sdk: SdkClient, limit: Any
) -> None:
    limit(rate_limit_rpd=2)
    evening = datetime(2027, 2, 28, 23, 0, 0, tzinfo=UTC)
    assert reason(check(integration, "first", at=evening)) == PASSED
    assert reason(check(integration, "second", at=evening)) == PASSED
    refused = check(integration, "third", at=evening + timedelta(minutes=30))
    assert reason(refused) == CALLS
    assert refused.retry_after_seconds == 30 * 60 + 1
    assert refused.reasons[0].action == "Increase limit or wait until 1 March"

    sdk.report(record(call_id="first"))
    assert reason(check(integration, "third", at=evening + timedelta(minutes=30))) == CALLS
    assert reason(check(integration, "third", at=evening + timedelta(hours=1))) == PASSED


def test_a_day_knows_its_morning_when_the_limit_is_set_at_noon(
    integration: CusIntegration, sdk: SdkClient, limit: Any
) -> None:
    sdk.report_calls(5)
    limit(rate_limit_rpd=5)
    assert reason(check(integration, "sixth")) == CALLS


# --- Leases -------------------------------------------------------------------------------------


def test_a_lease_has_slices_of_both_and_counts_until_it_returns(
    integration: CusIntegration, sdk: SdkClient, limit: Any
) -> None:
    limit(rate_limit_tpm=1_000, rate_limit_rpd=100)
    lease = sdk.lease(tokens=100, is_durable=True).json()
    assert lease["slices"] == [
        {"limit_id": "rate_limit_tpm", "unit": "tokens", "amount": 400},
        {"limit_id": "rate_limit_rpd", "unit": "calls", "amount": 4},
    ]
    assert reason(check(integration, "beside", 601)) == TOKENS

    of_lease = {"lease_id": lease["lease_id"],
                "reserved": {"cents": 1, "microcents": 1, "tokens": 100}}  # fmt: skip
    sdk.report(record(call_id="leased", tokens_in=50, tokens_out=10, **of_lease))
    # 60 used, 300 still leased.
    assert reason(check(integration, "beside", 641)) == TOKENS
    sdk.end_lease(lease["lease_id"], set_aside(cents=1, microcents=1, tokens=100, calls=1))
    assert reason(check(integration, "beside", 941)) == TOKENS
    assert reason(check(integration, "beside", 940)) == PASSED
    status = sdk.client.get(f"{ENFORCEMENT}/status").json()
    assert status["admitted_tokens_last_minute"] == 1_000
    assert status["admitted_today"] == 2


def test_where_a_minute_has_no_room_nothing_is_lent(sdk: SdkClient, limit: Any) -> None:
    limit(rate_limit_tpm=1_000)
    assert sdk.lease(tokens=300).json()["lease_id"] is None


# --- Exactness ----------------------------------------------------------------------------------


def test_racing_callers_never_take_more_than_a_minute_or_a_day_has(
    integration: CusIntegration, limit: Any
) -> None:
    limit(rate_limit_tpm=1_000, rate_limit_rpd=17)
    program = SdkClient.of(integration)

    def call(number: int) -> str:
        try:
            name = f"race-{number}"
            result: str = program.check(name, estimated_tokens=50).json()["result"]
            if result == "allowed" and number % 2:
                program.report(record(call_id=name, tokens_in=40, tokens_out=10))
            return result
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(call, range(60)))
    assert results.count("allowed") == 17


def test_what_no_limit_counts_any_more_is_swept(
    integration: CusIntegration, sdk: SdkClient, limit: Any
) -> None:
    limit(rate_limit_tpm=1_000)
    check(integration, "runs")
    sdk.report(record())
    for kind in (CusRunningAdmissions, CusLandedAdmissions):
        table = kind._meta.db_table
        as_if(
            f"INSERT INTO {table} SELECT tenant_id, integration_id, span,"
            f" start - interval '5 days', shard, calls, tokens FROM {table}"
        )
        assert kind.objects.count() == 4
    sweep()
    for kind in (CusRunningAdmissions, CusLandedAdmissions):
        assert sorted(one.span for one in kind.objects.all()) == ["day", "second"]
