"""Ways past limits at scopes that an attacker would try, and that once worked."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import ProgrammingError, connection, connections
from django.utils import timezone

from enforcement.cus_checks.requests import RunBudget
from integrations.cus_increases.service import CusIncreaseService, Which
from integrations.cus_lifecycle.models import CusIntegration
from tests.conftest import _superuser
from tests.cus_factories import SdkClient, record
from tests.cus_limits import change_limit, make_limit
from tests.enforcement.test_cus_scoped_leases import lend
from tests.enforcement.test_cus_scoped_limits import check, check_all, said

pytestmark = pytest.mark.django_db(transaction=True)

KEY_LIKE = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"


def test_a_second_check_of_a_call_does_not_pass_the_limit_of_another_session(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=100_000)
    make_limit(integration, "session_id", "empty", amount=10)
    sdk.report_batch(record(cost_cents=10, session_id="empty"))
    assert said(check(integration, "direct", 5, session_id="empty"))[0] == "blocked"
    assert said(check(integration, "two", 5, session_id="roomy"))[0] == "allowed"
    assert said(check(integration, "two", 5, session_id="empty"))[0] == "blocked"


def test_a_fallback_model_of_the_same_call_is_bound_by_its_own_limit(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=100_000)
    make_limit(integration, "model", "gpt-4o-mini", amount=10)
    sdk.report_batch(record(cost_cents=10, model="gpt-4o-mini"))
    assert said(check(integration, "two", 5, model="gpt-4o"))[0] == "allowed"
    assert said(check(integration, "two", 5, model="gpt-4o-mini"))[0] == "blocked"


@pytest.mark.parametrize(
    ("scope", "names", "tag"),
    [
        ("session_id", {"session_id": KEY_LIKE}, ""),
        ("agent_id", {"agent_id": KEY_LIKE}, ""),
        ("end_user", {"end_user": KEY_LIKE}, ""),
        ("tag", {"tags": [f"team={KEY_LIKE}"[:64]]}, "team"),
    ],
)
def test_a_name_that_looks_like_a_key_is_bound_like_others(
    integration: CusIntegration, sdk: SdkClient, scope: str, names: dict[str, Any], tag: str
) -> None:
    make_limit(integration, scope, None, tag=tag, amount=100)
    assert said(check(integration, "one", 60, **names))[0] == "allowed"
    sdk.report_batch(record(call_id="one", cost_cents=60, **names))
    assert said(check(integration, "two", 60, **names))[0] == "blocked"


@pytest.mark.parametrize("scopes", [None, {}], ids=["an old holder", "a holder without budget"])
def test_a_lease_is_not_used_past_the_budget_in_code_of_a_session(
    integration: CusIntegration, sdk: SdkClient, scopes: dict[str, Any] | None
) -> None:
    """Another process gave the session its budget; this process names the session without it."""
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=100_000)
    assert (
        said(check(integration, "a", 10, session_id="s", run=RunBudget(cents=10)))[0] == "allowed"
    )
    assert said(check(integration, "b", 10, session_id="s"))[0] == "blocked"
    lease = lend(integration, scopes).lease
    # The configuration names no limits, so the holder's calls of session s take of this lease.
    assert lease is None


@pytest.mark.parametrize("name", ["agent_id", "session_id", "end_user"])
def test_a_name_that_no_row_can_have_stops_no_other_call(
    integration: CusIntegration, name: str
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=100_000)
    found = check_all(integration, ("one", 5, {name: "a\x00b"}), ("two", 5, {"agent_id": "writer"}))
    assert [said(one)[:2] for one in found][1] == ("allowed", "all_checks_passed")


def test_a_disabled_limit_is_not_increased(integration: CusIntegration) -> None:
    limit = make_limit(integration, "agent_id", "writer", amount=10)
    change_limit(limit, enabled=False)
    now = timezone.now()
    with pytest.raises(ValidationError, match="disabled"):
        CusIncreaseService(integration.tenant).ask(
            integration,
            Which(limit=limit),
            now=now,
            amount=20,
            valid_until=now + timedelta(days=1),
            reason="more",
        )


def test_a_second_smaller_increase_does_not_take_back_the_first(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    limit = make_limit(integration, "agent_id", "writer", amount=10)
    service = CusIncreaseService(integration.tenant)
    now = timezone.now()
    for amount in (1_000, 20):
        asked = service.ask(
            integration,
            Which(limit=limit),
            now=now,
            amount=amount,
            valid_until=now + timedelta(days=1),
            reason="more",
        )
        service.approve(asked.id, now=now)
    assert said(check(integration, "two", 500, agent_id="writer"))[0] == "allowed"


def test_a_life_limits_increase_counts_what_retention_dropped(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    make_limit(integration, "session_id", "s", window="life", amount=10)
    sdk.report_batch(record(cost_cents=10, session_id="s"))
    with _superuser(str(connection.settings_dict["NAME"])) as cursor:
        cursor.execute("SET session_replication_role = replica; DELETE FROM cus_llm_usage")
        cursor.execute("SET session_replication_role = origin")
    assert said(check(integration, "one", 1, session_id="s"))[0] == "blocked"
    make_limit(
        integration,
        "session_id",
        "s",
        window="life",
        amount=15,
        valid_until=timezone.now() + timedelta(days=1),
    )
    # 10 of 15 are used.
    assert said(check(integration, "two", 10, session_id="s"))[0] == "blocked"


def test_each_budget_of_a_run_that_has_no_room_is_listed(integration: CusIntegration) -> None:
    run = RunBudget(cents=10, tokens=5, calls=1)
    assert said(check(integration, "a", 10, session_id="s", run=run, estimated_tokens=5))[0] == (
        "allowed"
    )
    found = check(integration, "b", 10, session_id="s", run=run, estimated_tokens=5)
    assert len(found.decision.reasons) == 3


def test_ingest_that_waits_to_count_has_locked_no_sum_that_a_new_limit_writes(
    integration: CusIntegration, sdk: SdkClient
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=10_000)
    make_limit(integration, "session_id", "s", amount=1_000)
    lease = lend(integration, {"session_id": "s"}).lease
    assert lease
    check(integration, "held", 5, session_id="s")
    records = [
        record(call_id="held", cost_cents=5, session_id="s"),
        record(
            cost_cents=5,
            session_id="s",
            lease_id=str(lease.id),
            reserved={"cents": 5, "microcents": 1, "tokens": 1},
        ),
    ]

    def report() -> None:
        sdk.report_batch(*records)
        connections.close_all()

    with _superuser(str(connection.settings_dict["NAME"])) as starter, starter.transaction():
        starter.execute("SELECT pg_advisory_xact_lock(cus_counting_key(%s))", [integration.id])
        thread = threading.Thread(target=report)
        thread.start()
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not (starter.execute(waits).fetchone() or (0,))[0]:
            time.sleep(0.05)
        free = {}
        for table in ("cus_hold_sums", "cus_limit_holds", "cus_running_admissions"):
            found = starter.execute(
                f"SELECT count(*), (SELECT count(*) FROM (SELECT 1 FROM {table}"
                f" FOR UPDATE SKIP LOCKED) AS free) FROM {table}"
            ).fetchone()
            assert found
            free[table] = found
    thread.join()
    assert all(rows == unlocked for rows, unlocked in free.values()), free


def test_no_role_but_the_owner_may_count_a_limit_anew(integration: CusIntegration) -> None:
    limit = make_limit(integration, "session_id", "s", amount=10)
    with connection.cursor() as cursor, pytest.raises(ProgrammingError, match="permission denied"):
        cursor.execute(
            "SELECT cus_start_counting(%s, %s, %s, 'session_id', '', 'nobody', 'month')",
            [integration.tenant_id, integration.id, limit.id],
        )
