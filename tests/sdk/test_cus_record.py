"""What a record says on the wire, and what becomes of one that cannot be said."""

import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from aos_sdk import (
    CusDeliveryError,
    CusRecordRefused,
    CusUsageRecord,
)
from aos_sdk.cus_delivery.codec import decode_record, encode_any, encode_plain
from tests.sdk.conftest import MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import cus_nested, cus_report


def test_texts_are_cut_to_what_the_wire_takes() -> None:
    record = CusUsageRecord(
        "c", "m" * 200, session_id="s" * 200, error_message="\ud800 Bearer abcdef"
    )
    data = record.to_dict()
    assert (len(data["model"]), len(data["session_id"])) == (100, 100)
    assert data["error_message"] == "? [masked]"
    assert CusUsageRecord("c", "m", session_id="sk-9876").to_dict()["session_id"] == "sk-9876"


class Broken:
    def __index__(self) -> int:
        raise RuntimeError


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": "x" * 20_000},
        {"a": object()},
        {"a": Broken()},
        {"a": float("nan")},
        {"a": "\ud800"},
        cus_nested(9),
        cus_nested(5_000),
    ],
)
def test_metadata_that_cannot_travel_is_replaced_by_a_note(metadata: dict[str, Any]) -> None:
    data = CusUsageRecord("c", "m", metadata=metadata).to_dict()
    assert list(data["metadata"]) == ["metadata_dropped"]


def test_metadata_at_its_limits_travels_as_it_is() -> None:
    for metadata in (cus_nested(8), {"a": "x" * (16 * 1024 - 8)}, {"a": "ü" * 8_000}):
        assert CusUsageRecord("c", "m", metadata=metadata).to_dict()["metadata"] == metadata


_KEY = "sk-proj-abcdef1234567890"


@pytest.mark.parametrize(
    "said",
    [
        {"metadata": {"a": {"b": [_KEY]}}},
        {"metadata": {_KEY: 1}},
        {"metadata": {"api_key": "letmein-letmein"}},
        {"session_id": _KEY},
        {"agent_id": f"agent {_KEY}"},
        {"error_code": _KEY},
        {"end_user": _KEY},
        {"provider_project": f"project {_KEY}"},
        {"provider_request_id": _KEY},
        {"provider_request_id": "req_aosk_abcdef1234567890"},
        {"tags": (f"key={_KEY}",)},
    ],
)
def test_a_key_leaves_the_program_in_no_text_of_a_record(said: dict[str, Any]) -> None:
    record = CusUsageRecord("c", "m", timestamp=1, **said)

    for stored in (encode_plain(record), encode_any(record)):
        assert b"abcdef123" not in stored
        assert b"letmein" not in stored
    assert "[masked]" in str(record.to_dict())


def test_tags_are_five_texts_of_key_and_value_and_no_more() -> None:
    tags = ["no value", "=no key", *(f"key-{number}={'x' * 80}" for number in range(7))]
    told = CusUsageRecord("c", "m", tags=tags).to_dict()["tags"]

    assert [tag[:6] for tag in told] == ["key-0=", "key-1=", "key-2=", "key-3=", "key-4="]
    assert {len(tag) for tag in told} == {64}
    assert "tags" not in CusUsageRecord("c", "m", tags=["no value"]).to_dict()
    by_key: Any = {"team": "red", "env": "live"}
    assert CusUsageRecord("c", "m", tags=by_key).to_dict()["tags"] == ["team=red", "env=live"]


@pytest.mark.parametrize(
    "tags",
    [("team=red", "env=live"), ("team=red\x1f",), ("a=\x1e",), ("é=ü",), ("k=" + "x" * 80,), ()],
)
@pytest.mark.parametrize("kind", [tuple, list])
def test_tags_come_back_from_a_ring_as_they_are_sent(tags: Any, kind: Any) -> None:
    record = CusUsageRecord("c", "m", tags=kind(tags), timestamp=1)
    stored = encode_plain(record) or encode_any(record)

    assert decode_record(stored, "p", 1).get("tags") == record.to_dict().get("tags")


@pytest.mark.parametrize("name", ["response_id", "provider_request_id", "host", "model_requested"])
@pytest.mark.parametrize("text", ["x" * 2_000, "x" * 300, "a\x1fb", "é", "req_12ab", "a-b_c"])
def test_a_new_text_comes_back_from_a_ring_as_it_is_sent(name: str, text: str) -> None:
    facts: dict[str, Any] = {name: text}
    record = CusUsageRecord("c", "m", timestamp=1, **facts)
    stored = encode_plain(record) or encode_any(record)

    assert decode_record(stored, "p", 1)[name] == record.to_dict()[name]


def test_only_unknown_usage_is_told() -> None:
    assert "usage_known" not in CusUsageRecord("c", "m").to_dict()
    assert CusUsageRecord("c", "m", usage_known=False).to_dict()["usage_known"] is False


def test_metadata_that_masks_make_too_long_is_replaced_by_a_note() -> None:
    keys = {"a": ["sk-abcd"] * 1_600}

    assert list(CusUsageRecord("c", "m", metadata=keys).to_dict()["metadata"]) == [
        "metadata_dropped"
    ]


def test_a_timestamp_of_any_kind_goes_out_as_iso_with_a_zone() -> None:
    moment = datetime(2026, 1, 17, 12, 0, 0, 250_000, tzinfo=UTC)
    nanoseconds = int(moment.timestamp()) * 10**9 + 250_000_000
    for timestamp in (moment, nanoseconds, "2026-01-17T12:00:00.250000+00:00"):
        record = CusUsageRecord("c", "m", timestamp=timestamp)
        assert record.to_dict()["timestamp"] == "2026-01-17T12:00:00.250000+00:00"


def test_a_record_that_no_json_can_hold_is_refused_alone(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    told: list[CusDeliveryError] = []
    # What it logs must not come with an exception that is ours.
    handled: list[BaseException | None] = []

    def on_error(error: CusDeliveryError) -> None:
        told.append(error)
        handled.append(sys.exception())

    reporter = make_reporter(on_error=on_error)
    reporter.report(CusUsageRecord("bad", "gpt-4o", object()))  # type: ignore[arg-type]  # on purpose
    cus_report(reporter, 3)
    assert reporter.flush(5.0) == 0
    assert len(collector.stored) == 3
    assert reporter.stats.rejected == 1
    assert "bad" in str(told[0])
    assert handled == [None]


class Whole:
    """A whole number as NumPy has them: no `int`, and good for one."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __index__(self) -> int:
        return self._number


@pytest.mark.parametrize("where", [{}, {"spool_dir": None}], ids=["ring", "memory"])
@pytest.mark.parametrize("metadata", [None, {"rows": Whole(7)}])
def test_a_number_of_another_kind_and_a_name_that_is_no_text_say_what_they_are(
    make_reporter: MakeReporter, collector: CusFakeCollector, where: Any, metadata: Any
) -> None:
    reporter = make_reporter(**where)
    name: Any = UUID(int=1)
    number: Any = Whole(1_000)
    with reporter.track_call("openai", "gpt-4o", call_id=name) as call:
        call.set_tokens(number, number)
        call.metadata = metadata
    reporter.report(CusUsageRecord(UUID(int=2), "gpt-4o", number, metadata=metadata))  # type: ignore[arg-type]

    assert reporter.flush(5.0) == 0
    assert [str(UUID(int=1)), str(UUID(int=2))] == list(collector.stored)
    assert {stored["tokens_in"] for stored in collector.stored.values()} == {1_000}
    assert [stored.get("metadata") for stored in collector.stored.values()] == [
        metadata and {"rows": 7}
    ] * 2


def test_a_record_without_a_name_is_given_none() -> None:
    assert CusUsageRecord(None, "gpt-4o").to_dict()["call_id"] is None  # type: ignore[arg-type]


class Mute:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "record",
    [
        CusUsageRecord("bad-\ud800", "gpt-4o"),
        CusUsageRecord("bad-", "gpt-4o", timestamp=10**27),
        CusUsageRecord("bad-", Mute()),  # type: ignore[arg-type]  # on purpose
        CusUsageRecord("bad-", "gpt-4o", error_message=Mute()),  # type: ignore[arg-type]  # on purpose
        CusUsageRecord("bad-", "gpt-4o", billed_units=cus_nested(2_000)),
        CusUsageRecord(Mute(), "gpt-4o"),  # type: ignore[arg-type]  # on purpose
        "no record at all",
    ],
    ids=["surrogate", "timestamp", "model", "error", "depth", "call_id", "no_record"],
)
def test_a_record_whose_encoding_fails_in_whatever_way_is_refused_alone(
    make_reporter: MakeReporter, collector: CusFakeCollector, record: Any
) -> None:
    told: list[CusDeliveryError] = []
    reporter = make_reporter(on_error=told.append)
    reporter.report(record)
    ids = cus_report(reporter, 3)
    assert reporter.flush(2.0) == 0
    assert list(collector.stored) == ids
    assert (reporter.stats.sent, reporter.stats.rejected) == (3, 1)
    (error,) = told
    assert isinstance(error, CusRecordRefused)
    assert error.code == "unencodable"
    assert error.call_id in ("bad-", "bad-?", "?")
