"""Counting facts by what they name comes to the same as letting each fact meet each limit."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry.cus_holds.limit_models import CusLimitTotals
from tests.conftest import as_if

pytestmark = pytest.mark.django_db(transaction=True)
first: Any = import_module("telemetry.migrations.0028_cus_limits_at_scopes")
now_counts: Any = import_module("telemetry.migrations.0033_cus_count_by_names")
few: Any = import_module("telemetry.migrations.0037_cus_count_few_calls")
WHOSE = uuid.UUID(int=1)
SCOPES = ("tenant", "integration", "model", "agent_id", "session_id", "end_user")
names = st.sampled_from([None, "", "a", "b", "c", "a=b"])
# Seconds ago.
moments = st.sampled_from([0, 1, 59, 3_600, 9 * 86_400, 40 * 86_400])
amounts = st.integers(-(2**63), 2**63 - 1)
tags = st.lists(st.sampled_from(["k=a", "k=b", "k=", "k", "=a", "kk=a", "m=a=b", ""]), max_size=4)
facts = st.fixed_dictionaries(
    dict.fromkeys(("model", "agent_id", "session_id", "end_user"), names)
    | {"tags": st.none() | tags, "received": moments, "admitted": st.none() | moments}
    | {"calls": st.integers(0, 1), "cents": amounts, "microcents": amounts, "tokens": amounts}
)
windows = st.sampled_from(["minute", "day", "week", "month", "life"])
limits = st.builds(
    lambda scope, wanted, window: {
        "id": str(uuid.uuid4()),
        "scope": scope,
        "tag": "",
        "wanted": "" if scope in ("tenant", "integration") else wanted,
        "window": window,
    },
    st.sampled_from(SCOPES),
    st.sampled_from([None, "a", "b"]),
    windows,
) | st.builds(
    lambda key, wanted, window: {
        "id": str(uuid.uuid4()),
        "scope": "tag",
        "tag": key,
        "wanted": wanted,
        "window": window,
    },
    st.sampled_from(["k", "kk", "m"]),
    st.sampled_from([None, "a", "", "a=b"]),
    windows,
)


def _ago(now: datetime, seconds: int | None) -> str | None:
    return None if seconds is None else (now - timedelta(seconds=seconds)).isoformat()


def _counted(
    count: Any,
    of_facts: list[dict[str, Any]],
    of_limits: list[dict[str, Any]],
    received: str | None = "now",
) -> Any:
    """What `count` adds to no totals."""
    facts_sql = f"""SELECT * FROM jsonb_to_recordset('{json.dumps(of_facts)}') AS fact(model text,
        agent_id text, session_id text, end_user text, tags jsonb, received timestamptz,
        admitted timestamptz, calls int, cents bigint, microcents bigint, tokens bigint)"""
    limits_sql = f"""SELECT '{WHOSE}'::uuid AS tenant, '{WHOSE}'::uuid AS integration, one.*
        FROM jsonb_to_recordset('{json.dumps(of_limits)}') AS one(id uuid, scope text, tag text,
        wanted text, "window" text)"""
    as_if(
        "DELETE FROM cus_limit_totals",
        f"""DO $do$ DECLARE whose record; BEGIN
            SELECT '{WHOSE}'::uuid AS tenant_id, '{WHOSE}'::uuid AS integration_id,
                '{received}'::timestamptz AS received INTO whose;
            {count(facts_sql, limits_sql, "3")} END $do$""",
    )
    return set(CusLimitTotals.objects.values_list())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(facts, max_size=12), st.lists(limits, min_size=1, max_size=12))
def test_facts_add_up_by_their_names_as_they_did_one_by_one(
    made: list[dict[str, Any]], of_limits: list[dict[str, Any]]
) -> None:
    now = datetime.now(UTC)
    of_facts = [
        fact | {name: _ago(now, fact[name]) for name in ("received", "admitted")} for fact in made
    ]
    assert _counted(now_counts.count, of_facts, of_limits) == _counted(
        first.count, of_facts, of_limits
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(facts, max_size=12), st.lists(limits, min_size=1, max_size=12), moments)
def test_few_facts_of_a_day_add_up_as_they_did_one_by_one(
    made: list[dict[str, Any]], of_limits: list[dict[str, Any]], day: int
) -> None:
    now = datetime.now(UTC)
    received = _ago(now, day)
    of_facts = [
        fact | {"received": received, "admitted": _ago(now, fact["admitted"])} for fact in made
    ]
    untagged = [fact | {"tags": None} for fact in of_facts]
    for some, tagged in ((of_facts, True), (untagged, False)):
        assert _counted(partial(few.met, tagged=tagged), some, of_limits, received) == _counted(
            first.count, some, of_limits
        )


def test_two_days_of_a_week_and_two_seconds_of_a_day_are_one_row() -> None:
    fact = {"model": "m", "calls": 1, "cents": 2, "microcents": 3, "tokens": 4}
    now = datetime.now(UTC)
    monday = datetime(2024, 1, 1, 12, tzinfo=UTC)
    of_facts = [
        fact | {"received": str(monday + timedelta(days=day)), "admitted": str(now + second)}
        for day in (0, 1)
        for second in (timedelta(), timedelta(seconds=-2))
    ]
    limit = {"id": str(uuid.uuid4()), "scope": "model", "tag": "", "wanted": None}
    rows = _counted(now_counts.count, of_facts, [limit | {"window": "week"}])
    assert [row[-4:] for row in rows] == [(4, 8, 12, 16)]
