"""Limits of each value whose values are many: nobody else notices, and people are told in time."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.uses import Uses
from integrations.cus_notifications.models import CusNotificationEvent
from telemetry.cus_clock import database_now
from telemetry.cus_holds import scoped_uses
from telemetry.cus_signals import limits as signals
from telemetry.cus_watching import scoped_readings
from telemetry.cus_watching.limit_readings import watch_limits
from tests.conftest import as_if
from tests.cus_factories import SdkClient, make_integration, record
from tests.cus_limits import make_limit
from tests.services.test_cus_signals import scraped

pytestmark = pytest.mark.django_db(transaction=True)


def name_many(limit: CusScopedLimit, count: int, cents: int) -> None:
    """As if so many agents had spent so much this month."""
    as_if(
        f"""INSERT INTO cus_limit_totals (tenant_id, integration_id, limit_id, value, start, shard,
            calls, cents, microcents, tokens)
        SELECT '{limit.tenant_id}', '{limit.integration_id}', '{limit.id}', 'agent-' || number,
            date_trunc('month', now(), 'UTC'), 0, 1, {cents}, 1, 1
        FROM generate_series(1, {count}) AS number"""
    )


def test_limits_whose_values_are_too_many_to_read_keep_no_other_tenants_limits_from_being_scraped(
    client: Client,
    integration: CusIntegration,
    sdk: SdkClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flooded = make_limit(make_integration(), "agent_id", None)
    limit = make_limit(integration, "agent_id", None)
    sdk.report(record(agent_id="writer", cost_cents=50))

    def reading(limits: Sequence[CusScopedLimit], most: int) -> Mapping[UUID, Uses]:
        if flooded in limits:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(60)")
        return scoped_uses.uses_of(limits, most)

    monkeypatch.setattr(signals, "uses_of", reading)
    monkeypatch.setattr(signals, "_ALL_MILLISECONDS", 50)
    monkeypatch.setattr(signals, "_TENANT_MILLISECONDS", 2_000)
    page = scraped(client)

    (series,) = page["cus_enforcement_limit_utilization_ratio"].items()
    assert (dict(series[0])["limit_id"], series[1]) == (str(limit.id), 0.5)
    assert page["cus_enforcement_limits_unread"] == {(): 1}
    assert len(page["cus_enforcement_limit_amount"]) == 2


def test_a_tenant_whose_limits_take_too_long_to_read_keeps_no_other_from_being_told(
    integration: CusIntegration, sdk: SdkClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    flooded = make_limit(make_integration(), "agent_id", None)
    name_many(flooded, 10, cents=100)
    make_limit(integration, "agent_id", None)
    sdk.report(record(agent_id="writer", cost_cents=100))
    slow = f"""WITH slow AS MATERIALIZED (
        SELECT CASE WHEN %(tenant)s = '{flooded.tenant_id}' THEN pg_sleep(60) END
    ) SELECT read.* FROM slow, ({scoped_readings._SCOPED}) AS read"""
    monkeypatch.setattr(scoped_readings, "_SCOPED", slow)
    monkeypatch.setattr(scoped_readings, "_MILLISECONDS", 1_000)

    assert watch_limits(database_now()) == 1
    assert CusNotificationEvent.objects.get().value == "writer"


def test_of_many_values_that_reach_a_level_each_is_told_of_though_not_at_once(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        scoped_readings, "_SCOPED", scoped_readings._SCOPED.replace("LIMIT 1000", "LIMIT 4")
    )
    name_many(make_limit(integration, "agent_id", None), 10, cents=80)

    assert [watch_limits(database_now()) for _ in range(4)] == [4, 4, 2, 0]
    as_if("UPDATE cus_limit_totals SET cents = 95")
    assert [watch_limits(database_now()) for _ in range(4)] == [4, 4, 2, 0]
    as_if("UPDATE cus_limit_totals SET cents = 85")
    assert watch_limits(database_now()) == 0


def test_a_tenant_that_was_told_enough_today_is_told_so_once(
    integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_NOTIFICATIONS_A_DAY = 3
    name_many(make_limit(integration, "agent_id", None), 10, cents=100)

    told = [watch_limits(database_now()) for _ in range(2)]

    assert told == [3, 0]
    kinds: list[Any] = sorted(CusNotificationEvent.objects.values_list("kind", flat=True))
    assert kinds == ["limit_100"] * 3 + ["too_many"]


def test_of_more_values_than_a_limit_is_made_for_one_more_is_counted_and_none_is_the_fullest(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoped_uses, "MANY_VALUES", 9)
    limit = make_limit(integration, "agent_id", None)
    name_many(limit, 9, cents=1)
    assert scoped_uses.uses_of([limit], 1)[limit.id].fullest
    as_if("UPDATE cus_limit_totals SET value = 'other-' || value")
    name_many(limit, 9, cents=1)

    found = scoped_uses.uses_of([limit], 1)[limit.id]
    assert (found.values, found.fullest) == (10, ())
    found = scoped_uses.uses_of([limit], 3)[limit.id]
    assert (found.values, len(found.fullest)) == (18, 3)
