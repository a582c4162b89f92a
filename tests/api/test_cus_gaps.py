"""GET /telemetry/gaps names what never came, to the right people, until it comes."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_delivery.models import CusReportingProcess
from telemetry.cus_delivery.sequences import fold_sequences
from telemetry.tasks import cus_fold_sequences
from tests.cus_factories import (
    BATCH,
    SdkClient,
    browser_of,
    listed,
    make_integration,
    make_tenant,
    record,
)

pytestmark = pytest.mark.django_db

URL = "/api/v1/cus/telemetry/gaps"
MOST = 2**63 - 1


def _encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode()


def _cursor(*words: bytes) -> str:
    return _encoded(b"[" + b", ".join(b'"' + word + b'"' for word in words) + b"]")


@pytest.fixture
def people(tenant: CusTenant) -> Client:
    return browser_of("member", tenant)


def _send(sdk: SdkClient, *numbers: int, process: str = "p", **beside: Any) -> Any:
    records = [record(process_id=process, sequence=number) for number in numbers]
    body = {"records": records, **beside}
    return sdk.client.post(BATCH, body, content_type="application/json")


def _gaps(client: Client, query: str = "") -> list[dict[str, Any]]:
    response = client.get(URL + query)
    assert response.status_code == 200, response.content
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def _fold() -> None:
    # Inside a test's transaction every row was received at its start.
    fold_sequences(timezone.now() + timedelta(seconds=1))


@pytest.mark.parametrize("folded", [False, True], ids=["fresh", "folded"])
def test_what_did_not_come_is_named_until_it_comes(
    sdk: SdkClient, people: Client, integration: CusIntegration, *, folded: bool
) -> None:
    _send(sdk, 1, 2, 5, 9, process_id="p", last_sequence=12)
    if folded:
        _fold()

    (gap,) = _gaps(people)
    assert gap["process_id"] == "p"
    assert gap["integration_id"] == str(integration.id)
    assert gap["missing"] == [[3, 4], [6, 8], [10, 12]]
    assert gap["missing_is_cut"] is False
    assert (gap["missing_count"], gap["undeclared_count"], gap["last_sequence"]) == (8, 8, 12)

    # Adopted by another process: out of order, some of it twice.
    _send(sdk, 12, 10, 11, 3)
    _send(sdk, 8, 7, 6, 4, 3)
    assert _gaps(people) == []
    _fold()
    assert _gaps(people) == []


def test_a_list_of_ranges_that_is_cut_says_so_and_its_count_is_of_all(
    sdk: SdkClient, people: Client
) -> None:
    _send(sdk, *range(2, 204, 2))

    (gap,) = _gaps(people)
    assert (len(gap["missing"]), gap["missing_count"]) == (100, 101)
    assert gap["missing_is_cut"] is True


def test_a_hole_in_the_middle_shows_without_any_announcement(
    sdk: SdkClient, people: Client
) -> None:
    _send(sdk, 2, 4)
    assert _gaps(people)[0]["missing"] == [[1, 1], [3, 3]]
    cus_fold_sequences()
    assert _gaps(people)[0]["missing"] == [[1, 1], [3, 3]]


def test_what_was_declared_as_dropped_is_said_beside_what_is_missing(
    sdk: SdkClient, people: Client
) -> None:
    beside: dict[str, Any] = {"process_id": "p", "last_sequence": 10}
    _send(sdk, 8, 9, 10, dropped={"full": 5}, **beside)
    # Said again, and then more: both count since the process began.
    _send(sdk, 8, dropped={"full": 5}, **beside)
    _send(sdk, 7, dropped={"full": 3, "refused": 1, "moonlight": 1}, **beside)

    (gap,) = _gaps(people)
    assert gap["missing"] == [[1, 6]]
    assert gap["dropped"] == {"full": 5, "refused": 1, "other": 1}
    assert (gap["missing_count"], gap["undeclared_count"]) == (6, 0)


def test_an_older_announcement_that_comes_late_takes_nothing_back(
    sdk: SdkClient, people: Client
) -> None:
    _send(sdk, 1, process_id="p", last_sequence=9)
    _send(sdk, 2, process_id="p", last_sequence=3)
    assert _gaps(people)[0]["last_sequence"] == 9


def test_a_sequence_that_was_answered_without_a_row_of_its_own_is_not_missing(
    sdk: SdkClient, people: Client
) -> None:
    first = record(process_id="p", sequence=1)
    again = {**first, "sequence": 2}
    other = {**first, "sequence": 3, "tokens_in": 7}
    bad = record(process_id="p", sequence=4, tokens_in=-1)
    last = record(process_id="p", sequence=5)
    answer = sdk.report_batch(first, again, other, bad, last).json()

    counts = (answer["accepted"], answer["duplicates"], answer["conflicts"], answer["rejected"])
    assert counts == (2, 1, 1, 1)
    assert _gaps(people) == []


def test_a_redelivery_writes_nothing_down(sdk: SdkClient) -> None:
    first = record(process_id="p", sequence=1)
    sdk.report_batch(first)
    sdk.report_batch(first)
    assert not CusReportingProcess.objects.exists()


@pytest.mark.parametrize(
    "beside",
    [
        {"process_id": 5, "last_sequence": 9},
        {"process_id": "", "last_sequence": 9},
        {"process_id": "p\x00", "last_sequence": 9},
        {"process_id": "x" * 101, "last_sequence": 9},
        {"process_id": "p", "last_sequence": "9"},
        {"process_id": "p", "last_sequence": True},
        {"process_id": "p", "last_sequence": -1},
        {"process_id": "p", "last_sequence": 9.0},
        {"process_id": "p", "last_sequence": MOST},
        {"process_id": "p", "last_sequence": 10**30, "dropped": {"full": 10**30}},
        {"process_id": "p", "last_sequence": None, "dropped": {"full": "3", "refused": -1}},
        {"process_id": "p", "dropped": ["full"]},
        {"process_id": {"a": [1]}, "last_sequence": {}, "dropped": "x"},
        {"dropped": {"full": 3}},
    ],
)
def test_a_malformed_announcement_is_ignored_and_costs_no_record(
    sdk: SdkClient, people: Client, beside: dict[str, Any]
) -> None:
    response = _send(sdk, 1, **beside)
    assert response.status_code == 200
    assert response.json()["accepted"] == 1
    assert _gaps(people) == []
    process = CusReportingProcess.objects.filter(process_id="p").first()
    assert process is None or (process.last_sequence, process.dropped) == (0, {})


def test_an_announcement_is_heard_beside_a_record_that_needs_mending(
    sdk: SdkClient, people: Client
) -> None:
    odd = record(process_id="p", sequence=1, metadata={"a": "\ud800"})
    _ = sdk.client.post(
        BATCH,
        {"records": [odd], "process_id": "p", "last_sequence": 2},
        content_type="application/json",
    )
    assert _gaps(people)[0]["missing"] == [[2, 2]]


def test_absurd_numbers_break_neither_ingest_nor_fold_nor_list(
    sdk: SdkClient, people: Client
) -> None:
    _send(sdk, MOST, MOST - 1, 2**62 - 1, 0, 1)
    bad = record(process_id="q", sequence=MOST, tokens_in=-1)
    sdk.report_batch(bad, {**bad, "sequence": "five"}, {**bad, "process_id": ["q"]})
    _fold()
    (gap,) = _gaps(people)
    assert gap["missing"] == [[2, 2**62 - 2]]


def test_a_process_whose_numbers_lie_scattered_stays_small(
    sdk: SdkClient, people: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from telemetry.cus_delivery import sequences

    statement = sequences._FOLD.replace("262144", "200")
    monkeypatch.setattr(sequences, "_FOLD", statement)
    _send(sdk, *range(1, 100, 2))
    _fold()
    process = CusReportingProcess.objects.get(process_id="p")
    assert str(process.came) == "{[1, 100)}"


def test_folding_again_and_in_steps_changes_nothing(sdk: SdkClient) -> None:
    _send(sdk, 1, 2, 4)
    _fold()
    before = CusReportingProcess.objects.get()
    assert fold_sequences(timezone.now() + timedelta(days=2, seconds=5)) is not None
    after = CusReportingProcess.objects.get()
    assert str(before.came) == str(after.came) == "{[1, 3), [4, 5)}"
    assert (before.first_seen_at, before.last_seen_at) == (after.first_seen_at, after.last_seen_at)


def test_a_process_that_has_been_silent_for_a_year_is_forgotten(sdk: SdkClient) -> None:
    _send(sdk, 1, 4)
    later = timezone.now() + timedelta(hours=1)
    fold_sequences(later)
    assert CusReportingProcess.objects.exists()
    CusReportingProcess.objects.update(last_seen_at=timezone.now() - timedelta(days=401))
    fold_sequences(later)
    assert not CusReportingProcess.objects.exists()


def test_pages_lead_through_all_processes_once(sdk: SdkClient, people: Client) -> None:
    for number in range(7):
        _send(sdk, 2, process=f"p{number}")
    seen = [gap["process_id"] for gap in listed(people, f"{URL}?limit=3")]
    assert sorted(seen) == [f"p{number}" for number in range(7)]


def test_the_list_is_narrowed_by_integration_process_and_time(
    sdk: SdkClient, people: Client, tenant: CusTenant, integration: CusIntegration
) -> None:
    other = make_integration(tenant)
    _send(sdk, 2, process="mine")
    _send(SdkClient.of(other), 2, process="other")
    assert len(_gaps(people)) == 2
    assert [gap["process_id"] for gap in _gaps(people, f"?integration_id={other.id}")] == ["other"]
    assert [gap["process_id"] for gap in _gaps(people, "?process_id=mine")] == ["mine"]
    assert _gaps(people, "?seen_from=2999-01-01T00:00:00Z") == []
    assert _gaps(people, "?seen_to=2001-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?integration_id=x", 400),
        ("?limit=0", 400),
        ("?limit=101", 400),
        ("?seen_from=yesterday", 400),
        ("?cursor=x", 404),
        ("?cursor=WyJhIiwgImIiLCAiYyJd", 404),
        (f"?cursor={_encoded(b'[' * 3000)}", 404),
        ("?cursor=" + _cursor(b"2026-11-01T00:00:00Z", b"0" * 32, rb"\ud800"), 404),
    ],
)
def test_what_cannot_be_asked_is_refused(people: Client, query: str, status: int) -> None:
    response = people.get(URL + query)
    assert response.status_code == status
    assert response.json()["errors"][0]["detail"]


def test_another_tenants_gaps_do_not_exist(sdk: SdkClient, tenant: CusTenant) -> None:
    _send(sdk, 2)
    stranger = browser_of("admin", make_tenant())
    assert _gaps(stranger) == []
    assert _gaps(stranger, f"?tenant_id={tenant.id}") == []
    # And the same process name is another process there.
    theirs = make_integration()
    _send(SdkClient.of(theirs), 1)
    assert _gaps(browser_of("member", tenant))[0]["missing"] == [[1, 1]]


def test_programs_and_strangers_see_nothing_and_operators_name_a_tenant(
    sdk: SdkClient, tenant: CusTenant
) -> None:
    _send(sdk, 2)
    for client in (sdk.client, Client()):
        assert client.get(URL).status_code == 401
    for role in ("operator", "support"):
        assert browser_of(role).get(URL).status_code == 400
        assert len(_gaps(browser_of(role), f"?tenant_id={tenant.id}")) == 1
