"""Usage as people read it: records, sums, hours and days (§4.2)."""

import base64
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_reads import records
from tests.cus_factories import (
    USAGE,
    SdkClient,
    browser_of,
    correct,
    listed,
    make_integration,
    record,
    settling,
    unmeasured,
)

pytestmark = pytest.mark.django_db

SUMMARY = f"{USAGE}/summary"
HOURLY = "/api/v1/cus/telemetry/usage-hourly"
DAILY = "/api/v1/cus/telemetry/usage-daily"
READS = (USAGE, SUMMARY, HOURLY, DAILY)
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)


@pytest.fixture
def member(tenant: CusTenant) -> Client:
    return browser_of("member", tenant)


def _at(**later: float) -> str:
    return (NOON + timedelta(**later)).isoformat()


def _roll_up() -> None:
    rollup_usage(timezone.now() + timedelta(seconds=1))


def _read(client: Client, url: str, **query: Any) -> Any:
    answer = client.get(url, query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def _summary(client: Client, **query: Any) -> Any:
    """A summary of the two days around `NOON`, unless the query names a time."""
    bounds = {"from": _at(days=-1), "to": _at(days=2)}
    return _read(client, SUMMARY, **bounds | query)


def _calls(client: Client, **query: Any) -> list[str]:
    return [one["call_id"] for one in _read(client, USAGE, **query)["results"]]


# Records


def test_a_record_shows_what_was_stored_and_what_was_corrected(
    sdk: SdkClient, integration: CusIntegration, member: Client
) -> None:
    sent = record(agent_id="a", tags=["team=x"], metadata={"k": 1}, cost_cents=3)
    sdk.report(sent)
    correct(CusLLMUsage.objects.get(), by_microcents=-50)

    (shown,) = _read(member, USAGE)["results"]

    assert shown["integration_id"] == str(integration.id)
    for name in ("call_id", "model", "tokens_in", "tokens_out", "agent_id", "tags", "metadata"):
        assert shown[name] == sent[name]
    assert (shown["cost_cents"], shown["counted_cents"]) == (3, 3)
    assert (shown["cost_microcents"], shown["correction_microcents"]) == (750_000, -50)
    assert shown["corrected_microcents"] == 749_950
    assert shown["settlement"] is None


def test_a_record_of_a_settled_call_shows_its_settlement(sdk: SdkClient, member: Client) -> None:
    sdk.report(unmeasured(response_id="r"))
    sdk.report(settling("r"))

    (shown,) = _read(member, USAGE)["results"]

    assert (shown["pricing"], shown["cost_microcents"]) == ("unmeasured", 0)
    assert shown["settlement"]["tokens_in"] == 1000
    assert shown["corrected_microcents"] == shown["settlement"]["cost_microcents"] == 750_000


_ONE = {
    "model": "gpt-4o-mini",
    "provider": "azure_openai",
    "agent_id": "agent",
    "session_id": "session",
    "call_id": "the-one",
    "end_user": "ada",
    "policy_result": "warned",
    "error_code": "timeout",
}


@pytest.mark.parametrize(
    "query", [*({name: value} for name, value in _ONE.items()), {"tag": "team=x"}]
)
def test_records_are_found_by_each_filter(
    sdk: SdkClient, member: Client, query: dict[str, str]
) -> None:
    sdk.report_batch(record(tags=["team=y"]), record(**_ONE, tags=["a=b", "team=x"]), record())

    assert _calls(member, **query) == ["the-one"]
    (name,) = query
    other = {"tag": "other=one", "policy_result": "blocked"}.get(name, "other")
    assert _calls(member, **{name: other}) == []


def test_records_are_found_by_integration_and_by_when_they_came(
    sdk: SdkClient, integration: CusIntegration, tenant: CusTenant, member: Client
) -> None:
    sdk.report(record(call_id="first"))
    sibling = make_integration(tenant)
    SdkClient.of(sibling).report(record(call_id="second"))
    now = timezone.now()

    assert _calls(member, integration_id=sibling.id) == ["second"]
    assert len(_calls(member)) == 2
    bounds = {"from": (now - timedelta(days=2)).isoformat(), "to": _at(hours=1)}
    assert _calls(member, **bounds) == []


def test_pages_neither_skip_nor_repeat_a_record_while_others_come(
    sdk: SdkClient, member: Client
) -> None:
    sdk.report_batch(*(record(call_id=f"c{number}") for number in range(7)))
    page = _read(member, USAGE, limit=3)
    seen = [one["call_id"] for one in page["results"]]
    while page["next"]:
        sdk.report(record())
        page = member.get(page["next"]).json()
        seen += [one["call_id"] for one in page["results"]]

    assert len(seen) == 7
    assert {*seen} == {f"c{number}" for number in range(7)}


def test_a_rare_filter_reads_a_bounded_number_of_records_for_a_page_and_finds_them_all(
    sdk: SdkClient, member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_LOOKED_AT", 4)
    # Each in a transaction of its own: rows of one transaction have one time, and their order by id
    # is by chance.
    sdk.report(record(end_user="ada", call_id="wanted"))
    sdk.report_batch(*(record() for _ in range(9)))
    sdk.report(record(end_user="ada", call_id="wanted-2"))

    page = _read(member, USAGE, end_user="ada")
    assert len(page["results"]) < 2
    assert page["next"]
    found = listed(member, f"{USAGE}?end_user=ada")

    assert {one["call_id"] for one in found} == {"wanted", "wanted-2"}


def test_a_page_of_records_takes_the_same_number_of_queries_however_many_it_has(
    sdk: SdkClient, member: Client
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            _read(member, USAGE, model="gpt-4o")
        assert not [one for one in seen if "count(" in one["sql"].lower()]
        return len(seen)

    sdk.report(record())
    few = queries()
    sdk.report_calls(60)

    assert queries() == few


# Sums


def test_the_summary_has_what_the_calls_of_the_period_cost_rounded_and_exact(
    sdk: SdkClient, member: Client
) -> None:
    sdk.report_batch(
        record(timestamp=_at(), tokens_in=100, tokens_out=0, latency_ms=100),
        record(timestamp=_at(hours=1), tokens_in=100, tokens_out=0, latency_ms=300),
        record(timestamp=_at(), error_code="timeout", cost_cents=2),
        record(timestamp=_at(), policy_result="blocked", tokens_in=0, tokens_out=0, cost_cents=0),
        record(timestamp=_at(days=-3)),
    )
    row = CusLLMUsage.objects.filter(error_code="timeout").get()
    correct(row, by_microcents=-1_000)
    _roll_up()

    found = _summary(member)

    totals = found["totals"]
    assert (totals["calls"], totals["error_calls"], totals["blocked_calls"]) == (3, 1, 1)
    assert (totals["tokens_in"], totals["tokens_out"]) == (1200, 500)
    assert (totals["cost_cents"], totals["counted_cents"]) == (4, 4)
    assert totals["cost_microcents"] == 25_000 + 25_000 + 750_000
    assert totals["correction_microcents"] == -1_000
    assert totals["corrected_microcents"] == 799_000
    assert totals["rounding_microcents"] == 4_000_000 - 800_000
    assert totals["avg_latency_ms"] == round((100 + 300 + 250) / 3)
    assert 100 <= totals["p50_latency_ms"] <= 300
    assert totals["max_latency_ms"] == 300
    assert found["groups"] == []
    assert not found["groups_are_cut"]
    assert found["waiting_hours"] == 0
    assert found["computed_to"]


def test_settlements_and_provisional_amounts_are_told_apart(sdk: SdkClient, member: Client) -> None:
    sdk.report_batch(unmeasured(timestamp=_at(), response_id="r"), unmeasured(timestamp=_at()))
    sdk.report(settling("r"))
    _roll_up()

    totals = _summary(member)["totals"]

    assert (totals["unmeasured_calls"], totals["settled_calls"]) == (1, 1)
    assert totals["cost_microcents"] == totals["settled_microcents"] == 750_000
    assert totals["tokens_in"] == 1000
    assert totals["provisional_microcents"] > 0


def _grouped(client: Client, *names: str, **query: Any) -> dict[Any, int]:
    groups = _summary(client, group_by=",".join(names), **query)["groups"]
    return {tuple(group[name] for name in names): group["calls"] for group in groups}


def test_sums_are_grouped_by_each_thing_and_by_two(
    sdk: SdkClient, integration: CusIntegration, tenant: CusTenant, member: Client
) -> None:
    sibling = make_integration(tenant)
    sdk.report_batch(
        record(timestamp=_at(), agent_id="a"),
        record(timestamp=_at(minutes=59), agent_id="a", model="gpt-4o-mini"),
        record(timestamp=_at(hours=13), provider="azure_openai", policy_result="warned"),
    )
    SdkClient.of(sibling).report(record(timestamp=_at()))
    _roll_up()
    noon, night = (
        NOON.strftime("%Y-%m-%dT%H:%M:%SZ"),
        (NOON + timedelta(hours=13)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    today, tomorrow = str(NOON.date()), str((NOON + timedelta(days=1)).date())

    assert _grouped(member, "integration") == {(str(integration.id),): 3, (str(sibling.id),): 1}
    assert _grouped(member, "provider") == {("openai",): 3, ("azure_openai",): 1}
    assert _grouped(member, "model") == {("gpt-4o",): 3, ("gpt-4o-mini",): 1}
    assert _grouped(member, "agent") == {("a",): 2, ("",): 2}
    assert _grouped(member, "policy_result") == {("allowed",): 3, ("warned",): 1}
    assert _grouped(member, "hour") == {(noon,): 3, (night,): 1}
    assert _grouped(member, "day") == {(today,): 3, (tomorrow,): 1}
    by_two = _grouped(member, "day", "agent")
    assert by_two == {(today, "a"): 2, (today, ""): 1, (tomorrow, ""): 1}
    assert _grouped(member, "model", integration_id=sibling.id) == {("gpt-4o",): 1}


def test_whole_days_hours_and_parts_of_hours_give_the_same_sums(
    sdk: SdkClient, member: Client
) -> None:
    sdk.report_batch(
        *(record(timestamp=_at(minutes=minutes), latency_ms=minutes) for minutes in (0, 29, 30, 90))
    )
    _roll_up()
    midnight = NOON.replace(hour=0)

    def sums(start: datetime, end: datetime, **query: Any) -> Any:
        bounds = {"from": start.isoformat(), "to": end.isoformat()}
        return _summary(member, **bounds | query)["totals"]

    day = sums(midnight, midnight + timedelta(days=1))
    assert day["calls"] == 4
    assert day == sums(midnight, midnight + timedelta(days=1), group_by="model")
    assert day == sums(midnight + timedelta(minutes=15), midnight + timedelta(hours=23, minutes=1))
    half = sums(NOON + timedelta(minutes=29), NOON + timedelta(minutes=30))
    assert (half["calls"], half["max_latency_ms"]) == (1, 29)
    half = sums(NOON + timedelta(minutes=30), NOON + timedelta(minutes=90))
    assert half["calls"] == 1


def test_a_session_is_summed_from_its_records(
    sdk: SdkClient, integration: CusIntegration, tenant: CusTenant, member: Client
) -> None:
    sdk.report_batch(
        record(timestamp=_at(), session_id="s"),
        unmeasured(timestamp=_at(), session_id="s", response_id="r"),
        record(timestamp=_at(), session_id="t"),
        record(timestamp=_at()),
    )
    sdk.report(settling("r"))
    SdkClient.of(make_integration(tenant)).report(record(timestamp=_at(), session_id="s"))

    found = _read(member, SUMMARY, session="s", integration_id=integration.id, group_by="model")

    assert (found["totals"]["calls"], found["totals"]["settled_calls"]) == (2, 1)
    assert [group["calls"] for group in found["groups"]] == [2]


def test_a_summary_with_more_groups_than_it_lists_says_so(
    sdk: SdkClient, member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.cus_reads.summaries.MOST_GROUPS", 2)
    sdk.report_batch(*(record(timestamp=_at(), agent_id=f"a{n}") for n in range(3)))
    _roll_up()

    found = _summary(member, group_by="agent")

    assert (len(found["groups"]), found["groups_are_cut"]) == (2, True)
    assert found["totals"]["calls"] == 3


def test_a_long_summary_by_hours_lists_its_first_hours_and_sums_them_all(
    sdk: SdkClient, member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.cus_reads.summaries.MOST_GROUPS", 2)
    sdk.report_batch(*(record(timestamp=_at(minutes=20 * n)) for n in range(12)))
    _roll_up()

    for start in (NOON, NOON + timedelta(minutes=30), NOON - timedelta(hours=20)):
        end = NOON + timedelta(hours=4)
        bounds = {"from": start.isoformat(), "to": end.isoformat()}
        found = _summary(member, group_by="hour", **bounds)
        listed = [(group["hour"], group["calls"]) for group in found["groups"]]
        # Of twenty minutes each; half an hour's part has one of three calls.
        first = 1 if start > NOON else 3
        assert [calls for _, calls in listed] == [first, 3]
        assert listed[0][0] == NOON.isoformat().replace("+00:00", "Z")
        assert found["groups_are_cut"]
        assert found["totals"]["calls"] == (10 if start > NOON else 12)


def test_days_in_the_midst_of_a_period_and_hours_at_its_ends_give_the_sums_of_the_records(
    sdk: SdkClient, member: Client
) -> None:
    agents, models = ("a", "b"), ("gpt-4o", "gpt-4o-mini")
    calls = [
        record(
            timestamp=_at(days=-5, hours=7 * n),
            agent_id=agents[n % 2],
            model=models[n % 3 % 2],
            tokens_in=n,
            tags=["team=x"] if n % 5 else None,
        )
        for n in range(17)
    ]
    sdk.report_batch(*calls)
    _roll_up()
    for start, end in (
        (_at(days=-5, minutes=1), _at(days=-1, minutes=-1)),
        (_at(days=-5, hours=-12), _at(days=-2, hours=12)),
        (_at(days=-5, hours=1), _at(days=-5, hours=9)),
    ):
        sent = [call for call in calls if start <= call["timestamp"] < end]
        for name, field in (("agent", "agent_id"), ("model", "model")):
            found = _summary(member, group_by=name, **{"from": start, "to": end})
            expected: Counter[str] = Counter()
            for call in sent:
                expected[call[field]] += call["tokens_in"]
            assert {group[name]: group["tokens_in"] for group in found["groups"]} == expected
            assert found["totals"]["calls"] == len(sent) > 0


def test_without_bounds_a_summary_is_of_this_month(sdk: SdkClient, member: Client) -> None:
    sdk.report(record())
    _roll_up()

    found = _read(member, SUMMARY)

    now = timezone.now()
    assert found["from"] == f"{now:%Y-%m}-01T00:00:00Z"
    assert found["totals"]["calls"] == 1


# Hours and days


def test_hours_and_days_are_listed_newest_first_in_pages(
    sdk: SdkClient, integration: CusIntegration, tenant: CusTenant, member: Client
) -> None:
    both = (sdk, SdkClient.of(make_integration(tenant)))
    for client in both:
        client.report_batch(
            *(
                record(timestamp=_at(hours=-26 * n), agent_id=agent)
                for n in (0, 1)
                for agent in "ab"
            )
        )
    _roll_up()
    bounds = f"from={(NOON - timedelta(days=3)).date()}&to={NOON.date()}"

    days = listed(member, f"{DAILY}?{bounds}&limit=1")
    assert [(day["date"], day["calls"]) for day in days] == [
        (str((NOON - timedelta(hours=26 * n)).date()), 2) for n in (0, 0, 1, 1)
    ]
    moments = f"from={(NOON - timedelta(days=3)):%Y-%m-%dT%H:%M:%SZ}&to={_at(hours=1)[:19]}Z"
    hours = listed(member, f"{HOURLY}?{moments}&limit=3")
    assert len({json.dumps(hour, sort_keys=True) for hour in hours}) == len(hours) == 8
    assert [hour["hour"] for hour in hours] == sorted((h["hour"] for h in hours), reverse=True)
    of_one = listed(member, f"{HOURLY}?{moments}&integration_id={integration.id}&agent_id=a")
    assert [(hour["agent_id"], hour["calls"], hour["cost_microcents"]) for hour in of_one] == [
        ("a", 1, 750_000)
    ] * 2


# Whose


def test_people_read_their_own_tenant_alone(sdk: SdkClient, member: Client) -> None:
    stranger = make_integration()
    SdkClient.of(stranger).report(record(call_id="strange", timestamp=_at()))
    sdk.report(record(call_id="own", timestamp=_at()))
    _roll_up()

    for query in ({}, {"tenant_id": stranger.tenant_id}):
        assert _calls(member, **query) == ["own"]
        assert _calls(member, call_id="strange", **query) == []
        assert _summary(member, **query)["totals"]["calls"] == 1
    support = browser_of("support")
    assert _calls(support, tenant_id=stranger.tenant_id) == ["strange"]
    assert _summary(support, tenant_id=stranger.tenant_id)["totals"]["calls"] == 1


@pytest.mark.parametrize("url", READS)
def test_a_foreign_integration_answers_as_a_missing_one(url: str, member: Client) -> None:
    foreign = member.get(url, {"integration_id": str(make_integration().id)})
    missing = member.get(url, {"integration_id": "00000000-0000-4000-8000-000000000000"})

    assert foreign.status_code == missing.status_code == 404
    assert foreign.content == missing.content


def test_the_usage_of_a_deleted_integration_stays_readable(
    sdk: SdkClient, integration: CusIntegration, tenant: CusTenant, member: Client
) -> None:
    sdk.report(record())
    CusIntegrationService(tenant).delete(integration)

    assert len(_calls(member, integration_id=integration.id)) == 1


# What is asked


@pytest.mark.parametrize(
    ("url", "query", "attr"),
    [
        (USAGE, {"modell": "m"}, "modell"),
        (USAGE, {"from": "2026-11-01"}, "from"),
        (USAGE, {"from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"}, "from"),
        (USAGE, {"policy_result": "throttled"}, "policy_result"),
        (USAGE, {"limit": "0"}, "limit"),
        (USAGE, {"limit": "101"}, "limit"),
        (USAGE, {"end_user": "a\0b"}, "end_user"),
        (SUMMARY, {"group_by": "colour"}, "group_by"),
        (SUMMARY, {"group_by": "model,model"}, "group_by"),
        (SUMMARY, {"group_by": "model,agent,day"}, "group_by"),
        (SUMMARY, {"from": "2024-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        (SUMMARY, {"session": "s"}, "from"),
        (DAILY, {"from": "2026-11-01T00:00:00Z"}, "from"),
        (DAILY, {"to": "9999-12-31"}, "to"),
        (DAILY, {"from": "2026-11-02", "to": "2026-10-01"}, "from"),
        (HOURLY, {"to": "yesterday"}, "to"),
    ],
)
def test_a_query_that_cannot_be_answered_names_its_fault(
    member: Client, url: str, query: dict[str, str], attr: str
) -> None:
    answer = member.get(url, query)

    assert answer.status_code == 400
    assert [error["attr"] for error in answer.json()["errors"]] == [attr]


def test_a_session_over_more_than_seven_days_is_refused(
    member: Client, integration: CusIntegration
) -> None:
    query = {"session": "s", "integration_id": str(integration.id), "from": _at(days=-9)}
    assert member.get(SUMMARY, query).status_code == 400


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "é", base64.urlsafe_b64encode(b"[" * 5_000).decode(), "WzFd", "bnVsbA=="],
)
@pytest.mark.parametrize("url", [USAGE, HOURLY, DAILY])
def test_a_cursor_that_names_no_page_is_404(member: Client, url: str, cursor: str) -> None:
    assert member.get(url, {"cursor": cursor}).status_code == 404


def test_a_cursor_with_an_impossible_text_is_404(member: Client) -> None:
    place = ["2026-11-01T00:00:00Z", "00000000-0000-4000-8000-000000000000", *("a\0",) * 4, True]
    cursor = base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
    assert member.get(HOURLY, {"cursor": cursor}).status_code == 404


def test_the_link_to_the_next_page_keeps_the_filters(sdk: SdkClient, member: Client) -> None:
    sdk.report_batch(record(), record())
    link = _read(member, USAGE, limit=1, model="gpt-4o")["next"]
    assert parse_qs(urlsplit(link).query)["model"] == ["gpt-4o"]


def test_a_program_reports_by_post_and_a_person_cannot(sdk: SdkClient, member: Client) -> None:
    assert sdk.report(record()).status_code == 201
    assert sdk.client.get(USAGE).status_code == 401
    assert member.post(USAGE, record(), content_type="application/json").status_code == 401
