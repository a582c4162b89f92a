"""The ring: what was appended is there, whole, in order, or known to be gone."""

import errno
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from mmap import mmap
from pathlib import Path
from struct import error as StructError
from typing import Any
from unittest.mock import Mock, patch

import pytest

from aos_sdk import CusCallTracker, CusReporter, CusTokenUsage, CusUsageRecord, price_call
from aos_sdk.cus_delivery import ring_buffer as cus_ring_buffer
from aos_sdk.cus_delivery.buffer import CusBuffer, CusEntry, CusMemoryBuffer
from aos_sdk.cus_delivery.codec import decode_record, encode_any, encode_call, encode_plain
from aos_sdk.cus_delivery.ended_call import CusOrigin
from aos_sdk.cus_delivery.ring import (
    PAGE_BYTES,
    SLOT_BYTES,
    CusRecordTooLarge,
    CusRing,
    CusRingState,
    CusRingUnusable,
    ring_bytes,
)
from aos_sdk.cus_delivery.ring_buffer import CusAdoptedRing, CusRingBuffer

NAME = "0123456789abcdef" * 2


def _nothing() -> None:
    """What closing and removing the file is in these tests."""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "a.ring", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def _reopen(descriptor: int) -> CusRing:
    return CusRing(mmap(descriptor, os.fstat(descriptor).st_size))


def _buffer(ring: CusRing) -> CusRingBuffer:
    return CusRingBuffer(ring, _nothing, _nothing)


def _adopted(descriptor: int) -> CusAdoptedRing:
    return CusAdoptedRing(_reopen(descriptor), _nothing, _nothing)


def _numbers(entries: list[CusEntry]) -> list[int]:
    return [entry.sequence for entry in entries]


def _record(number: int, **changes: Any) -> CusUsageRecord:
    return CusUsageRecord(f"call-{number}", "gpt-4o", 10, 5, **changes)


@pytest.mark.parametrize("size", [1, 359, 360, 361, 855, 856, 857, 5_000, 40_000])
def test_a_payload_of_any_size_comes_back_whole(file: int, size: int) -> None:
    ring = CusRing.create(file, 16, NAME)
    payload = random.Random(size).randbytes(size)
    assert [ring.append(payload) for _ in range(3)] == [1, 2, 3]
    again = _reopen(file)
    assert again.process_id == NAME
    assert [again.read(number) for number in (1, 2, 3)] == [payload] * 3
    assert again.read(4) is None
    assert again.written() == [1, 2, 3]


def test_a_record_that_no_ring_can_hold_is_refused_and_takes_no_number(file: int) -> None:
    ring = CusRing.create(file, 16, NAME)
    with pytest.raises(CusRecordTooLarge):
        ring.append(bytes(1_000_000))
    assert ring.append(b"x") == 1


def test_the_file_is_allocated_to_its_last_byte_before_anything_is_written(file: int) -> None:
    CusRing.create(file, 1_000, NAME)
    found = os.fstat(file)
    assert found.st_blocks * 512 >= found.st_size


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_a_file_system_that_cannot_allocate_is_written_to_its_last_byte(
    file: int, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(descriptor: int, start: int, size: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    ring = CusRing.create(file, 8_192, NAME)
    assert os.fstat(file).st_blocks * 512 >= os.fstat(file).st_size == ring_bytes(8_192)
    assert ring.read(ring.append(b"x" * 5_000)) == b"x" * 5_000


def test_a_slot_that_was_overwritten_is_lost_and_never_mistaken(file: int) -> None:
    ring = CusRing.create(file, 4, NAME)
    for number in range(1, 8):
        ring.append(b"%d" % number)
    assert [ring.read(number) for number in range(1, 9)] == [
        b"", b"", b"", b"4", b"5", b"6", b"7", None,
    ]  # fmt: skip


def test_chunks_that_newer_records_took_are_noticed(file: int) -> None:
    ring = CusRing.create(file, 1_000, NAME)
    first = ring.append(bytes(50_000))
    for _ in range(3):
        last = ring.append(bytes(50_000))
    assert ring.read(first) == b""
    assert ring.read(last) == bytes(50_000)


@pytest.mark.parametrize("cut", [0, 1, 8, 12, 16, 24, 25, 100, 255])
def test_a_write_that_was_cut_off_is_no_record(file: int, cut: int) -> None:
    ring = CusRing.create(file, 4, NAME)
    payload = random.Random(1).randbytes(231)
    ring.append(b"kept")
    before = os.pread(file, SLOT_BYTES, PAGE_BYTES + 2 * SLOT_BYTES)
    ring.append(payload)
    after = os.pread(file, SLOT_BYTES, PAGE_BYTES + 2 * SLOT_BYTES)
    os.pwrite(file, after[:cut] + before[cut:], PAGE_BYTES + 2 * SLOT_BYTES)
    assert _reopen(file).read(2) in (None, b"") or cut == 255
    assert _numbers(_adopted(file).take(10))[:1] == [1]


def test_any_flipped_bit_of_a_slot_is_noticed(file: int) -> None:
    ring = CusRing.create(file, 2, NAME)
    payload = b"twenty bytes of text"
    ring.append(payload)
    at = PAGE_BYTES + SLOT_BYTES
    whole = os.pread(file, SLOT_BYTES, at)
    # Sequence, checksum, length; then, after the unused link, the payload.
    for byte in (*range(16), *range(24, 24 + len(payload))):
        for bit in range(8):
            broken = bytearray(whole)
            broken[byte] ^= 1 << bit
            os.pwrite(file, broken, at)
            assert _reopen(file).read(1) in (None, b""), (byte, bit)


def test_the_state_survives_the_loss_of_either_copy(file: int) -> None:
    ring = CusRing.create(file, 4, NAME)
    assert ring.state.tail == 1
    for tail in range(2, 6):
        ring.save(CusRingState(tail=tail, full=tail))
    assert _reopen(file).state == (4, 5, 5, 0, 0)
    os.pwrite(file, b"torn", 1024 + 8)  # generation 4
    assert _reopen(file).state == (3, 4, 4, 0, 0)
    os.pwrite(file, b"torn", 2048 + 8)
    assert _reopen(file).state.tail == 1, "all of it is sent again, and deduplicated"


@pytest.mark.parametrize("at", [0, 8, 12, 16, 20, 24, 28, 60])
def test_a_file_of_another_version_or_kind_is_refused(file: int, at: int) -> None:
    CusRing.create(file, 4, NAME)
    byte = os.pread(file, 1, at)[0]
    os.pwrite(file, bytes([byte ^ 0xFF]), at)
    with pytest.raises(CusRingUnusable):
        _reopen(file)


def test_a_file_that_was_cut_off_is_refused(file: int) -> None:
    CusRing.create(file, 4, NAME)
    os.ftruncate(file, PAGE_BYTES)
    with pytest.raises(CusRingUnusable):
        _reopen(file)


def test_settling_moves_the_tail_only_past_what_is_settled(file: int) -> None:
    buffer = _buffer(CusRing.create(file, 16, NAME))
    for number in range(6):
        buffer.append(_record(number))
    entries = buffer.take(4)
    buffer.settle([entries[2], entries[0]])
    assert _reopen(file).state.tail == 2
    assert _numbers(_adopted(file).take(10)) == [2, 3, 4, 5, 6], "3 once more, and deduplicated"
    buffer.settle([entries[1]])
    assert _reopen(file).state.tail == 4
    assert _numbers(buffer.take(10)) == [4, 5, 6]
    buffer.settle(buffer.take(10))
    assert len(buffer) == len(_adopted(file)) == 0


def test_an_overrun_drops_the_oldest_and_counts_them_at_once_and_for_ever(file: int) -> None:
    buffer = _buffer(CusRing.create(file, 10, NAME))
    for number in range(4):
        buffer.append(_record(number))
    held = buffer.take(2)
    for number in range(4, 25):
        buffer.append(_record(number))
    # Two are held in memory, beside the ten.
    assert (len(buffer), buffer.dropped) == (12, {"full": 13})
    assert _numbers(buffer.take(20)) == [1, 2, *range(16, 26)]
    assert (len(buffer), buffer.dropped) == (12, {"full": 13})
    buffer.settle(held)
    assert _reopen(file).state.full == 13


def test_a_dead_ring_knows_what_it_dropped(file: int) -> None:
    buffer = _buffer(CusRing.create(file, 10, NAME))
    for number in range(25):
        buffer.append(_record(number))
    adopted = _adopted(file)
    assert (len(adopted), adopted.dropped, adopted.last_sequence) == (10, {"full": 15}, 25)
    adopted.settle(adopted.take(3))
    again = _adopted(file)
    assert (len(again), again.dropped) == (7, {"full": 15}), "the count is not taken twice"


def test_a_number_that_was_claimed_and_not_written_holds_nobody_up(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = CusRing.create(file, 16, NAME)
    buffer = _buffer(ring)
    buffer.append(_record(1))
    claimed = ring.claim()  # and Ctrl-C
    buffer.append(_record(3))
    assert _numbers(buffer.take(5)) == [1, 3]
    assert (len(buffer), buffer.dropped) == (3, {})
    buffer.settle(buffer.take(5))
    assert _reopen(file).state.tail == claimed, "it may be written yet"
    monkeypatch.setattr(cus_ring_buffer, "GIVE_UP_SECONDS", 0.0)
    assert buffer.take(5) == []
    assert (len(buffer), buffer.dropped) == (0, {"interrupted": 1})


def test_a_record_that_is_written_late_is_taken_late(file: int) -> None:
    ring = CusRing.create(file, 16, NAME)
    buffer = _buffer(ring)
    claim = ring.claim
    late = ring.claim()
    buffer.append(_record(2))
    assert _numbers(buffer.take(5)) == [2]
    ring.claim = lambda: late
    buffer.append(_record(1))
    ring.claim = claim
    assert sorted(_numbers(buffer.take(5))) == [1, 2]


WRITER = """
import os, sys
from itertools import count
from aos_sdk.cus_delivery.ring import CusRing
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
ring = CusRing.create(descriptor, 50_000, "0" * 32)
print("ready", flush=True)
for number in count(1):
    size = number * 7919 % 700
    assert ring.append(b"%d:" % number + b"x" * size) == number
    os.pwrite(ACCEPTED, number.to_bytes(8, "little"), 0)
"""


def test_sigkill_at_any_instant_loses_and_tears_nothing(tmp_path: Path) -> None:
    wait = random.Random(7)
    for kill in range(12):
        path = tmp_path / f"{kill}.ring"
        with tempfile.TemporaryFile() as accepted:
            program = WRITER.replace("ACCEPTED", str(accepted.fileno()))
            with subprocess.Popen(
                [sys.executable, "-c", program, str(path)],
                stdout=subprocess.PIPE,
                pass_fds=[accepted.fileno()],
            ) as process:
                assert process.stdout
                assert process.stdout.readline() == b"ready\n"
                time.sleep(wait.uniform(0.005, 0.06))
                process.kill()
            last = int.from_bytes(os.pread(accepted.fileno(), 8, 0), "little")
        with path.open("r+b") as ring_file:
            ring = _reopen(ring_file.fileno())
            oldest = max(ring.written()[-1] - 12_000, 1)
            for number in range(oldest, last + 1):
                payload = b"%d:" % number + b"x" * (number * 7919 % 700)
                assert ring.read(number) == payload
            # One more may be written whole: its append had not returned.
            assert ring.written()[-1] in (last, last + 1)


ALL = CusUsageRecord(
    "c-1", "gpt-4o", 7, 6, 5, 4, "openai", "warned", "timeout", None, "session", "agent",
    "11111111-1111-1111-1111-111111111111", None, 1_768_651_200_250_000_000,
    3, 2, 1, 4, 5, 6, 2, 13, "flex", "2026-01-17", "chat", True,
)  # fmt: skip


def _decoded(payload: bytes) -> dict[str, Any]:
    """A stored record as the wire has it, without where it was stored."""
    data = decode_record(payload, "p", 1)
    assert (data.pop("process_id"), data.pop("sequence")) == ("p", 1)
    return data


@pytest.mark.parametrize(
    "record",
    [
        ALL,
        CusUsageRecord("c", "m", timestamp=1),
        CusUsageRecord("c", "m" * 200, provider="p" * 99, session_id="s" * 200, timestamp=1),
        CusUsageRecord("c", "modèle ☃", error_code="x" * 80, timestamp=10**18),
    ],
)
def test_a_usual_record_reads_back_as_it_would_have_been_sent(record: CusUsageRecord) -> None:
    payload = encode_plain(record)
    assert payload
    assert _decoded(payload) == record.to_dict() == _decoded(encode_any(record))


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"a": [1, None, "ü"]}},
        {"error_message": "Bearer abcdefgh was refused"},
        {"billed_units": {"searches": 2}},
        {"turns": [{"model": "m", "tokens_in": 1}]},
        {"provider_cost_microcents": 7},
        {"usage_known": False},
        {"provider_request_id": "Bearer abcdefgh-abcdefgh"},
        {"tags": ("Bearer abcdefgh", "a=b")},
        {"timestamp": "2026-01-17T12:00:00Z"},
        {"tokens_in": 2**40},
        {"tokens_in": 1.5},
        {"latency_ms": "fast"},
        {"session_id": "a\x1fb"},
        {"session_id": "far too long" * 100},
        {"session_id": 0},
        {"agent_id": "\ud800"},
        {"provider": 5},
    ],
)
def test_an_unusual_record_is_kept_as_the_json_that_would_have_been_sent(
    changes: dict[str, Any],
) -> None:
    record = CusUsageRecord("c", "m", **{"timestamp": 1, **changes})
    assert encode_plain(record) == b""
    payload = encode_any(record)
    assert _decoded(payload) == record.to_dict()
    assert b"abcdefgh" not in payload, "no secret reaches the disk"


@pytest.mark.parametrize("name", ["cost_cents", "latency_ms", "tokens_total"])
def test_a_negative_number_is_left_for_the_server_to_refuse(name: str) -> None:
    record = CusUsageRecord("c", "m", timestamp=1)
    setattr(record, name, -1)
    assert encode_plain(record) == b""
    assert _decoded(encode_any(record))[name] == -1


def _call(usage: Any, **facts: Any) -> CusCallTracker:
    call = CusCallTracker(CusReporter("no key"), "openai", "gpt-4o", session_id="s")
    call.started_at, call.latency_ms, call.usage = 10**18, 7, usage
    for name, value in facts.items():
        setattr(call, name, value)
    return call


@pytest.mark.parametrize(
    "call",
    [
        _call(CusTokenUsage(1_000, 500)),
        _call(CusTokenUsage(1_000, 500, 100, 0, 0, 50, tokens_total=1_500)),
        _call(CusTokenUsage(1_000, 500, 100, 50, 20, 50, 1, 2, 3)),
        _call(CusTokenUsage(300_000, 500), model="gpt-5.4", service_tier="flex"),
        _call(CusTokenUsage(1_000, 500), cost_cents=77),
        _call(CusTokenUsage(1_000, 500), model="a model that nobody knows"),
        _call(CusTokenUsage(1, 1), model="", provider=None, stream=True, agent_id="a"),
        _call(None, error_code="Timeout"),
        _call(CusTokenUsage(1, 1), response_id="resp_1", provider_request_id="req_a1"),
        _call(CusTokenUsage(1, 1), model_requested="prod", end_user="u", tags=("a=b", "c=d")),
        _call(CusTokenUsage(1, 1), origin=CusOrigin("h.example", "eu", "proj_1", "4f2a", "openai")),
        _call(CusTokenUsage(-1, 5)),
    ],
)
def test_a_call_reads_back_as_its_record_would(call: CusCallTracker) -> None:
    payload = encode_call(call)
    assert payload
    assert _decoded(payload) == call.record().to_dict()


@pytest.mark.parametrize(
    "facts",
    [
        {"metadata": {"a": 1}},
        {"error_message": "no"},
        {"billed_units": {"searches": 2}},
        {"turns": [{"tokens_in": 1}]},
        {"provider_cost_microcents": 7},
        {"usage": None},
        {"response_id": "a\x1fb"},
        {"provider_request_id": "Bearer abcdefgh-abcdefgh"},
        {"tags": ["a=b"]},
        {"tags": ("no value",)},
        {"cost_cents": -1},
        {"latency_ms": -1},
        {"cost_cents": "5"},
        {"session_id": "a\x1fb"},
        {"usage": CusTokenUsage(2**40, 1)},
        {"usage": CusTokenUsage(1, 1, tokens_total=-1)},
        {"usage": (1, 1)},
        {"started_at": datetime.now(UTC)},
    ],
)
def test_a_call_that_is_unusual_becomes_a_record_first(facts: dict[str, Any]) -> None:
    assert encode_call(_call(**{"usage": CusTokenUsage(1, 1), **facts})) == b""


def test_a_call_with_all_that_its_client_tells_fits_a_slot() -> None:
    call = _call(CusTokenUsage(1_000, 500, 100, tokens_total=1_500), operation="chat")
    call.call_id, call.agent_id = None, "an agent of some name"
    call.model, call.provider = "claude-sonnet-4-5-20250929", "bedrock"
    call.model_requested = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    call.origin = CusOrigin("bedrock-runtime.us-east-1.amazonaws.com", "us", "p" * 29, "4f2a")
    call.response_id, call.provider_request_id = "x" * 38, f"req_{'0' * 32}"

    assert len(encode_call(call)) <= SLOT_BYTES - 24


def test_a_call_that_nobody_named_is_named_by_where_it_is_stored(file: int) -> None:
    buffers: list[CusBuffer] = [_buffer(CusRing.create(file, 300, NAME)), CusMemoryBuffer(300)]
    for buffer in buffers:
        for _ in range(20):
            call = _call(CusTokenUsage(1, 1), call_id=None)
            call.is_settled = True
            buffer.append(call)
        entries = buffer.take(20)
        named = [f"{buffer.process_id}-{number:x}" for number in range(1, 21)]
        assert [entry.call_id for entry in entries] == named
        assert [json.loads(entry.to_json("i"))["call_id"] for entry in entries] == named


def test_a_call_costs_what_it_cost_on_its_day_whenever_it_is_sent() -> None:
    tokens = CusTokenUsage(1_000_000, 1_000_000)
    days = (datetime(2026, 8, 20, 23, tzinfo=UTC), datetime(2026, 9, 20, tzinfo=UTC))
    for day in days:
        moment = int(day.timestamp()) * 10**9
        call = _call(tokens, model="gpt-5.6-sol", started_at=moment)
        expected = price_call("gpt-5.6-sol", tokens, at=day)
        assert expected
        assert call.record().cost_cents == expected.cost_cents
        assert _decoded(encode_call(call))["cost_cents"] == expected.cost_cents
    first, second = (price_call("gpt-5.6-sol", tokens, at=day) for day in days)
    assert first != second, "the price of this model changed between the two"


def test_a_call_of_a_moment_that_no_calendar_has_goes_without_a_price() -> None:
    call = _call(CusTokenUsage(1, 1), model="gpt-5.6-sol", started_at=2**62)
    assert encode_call(call)


class _Seen:
    def report(self, record: CusUsageRecord) -> None:
        self.__dict__.setdefault("seen", []).append(record)


class _Mixed(_Seen, CusReporter):
    """A reporter whose `report` comes from elsewhere."""


def test_who_reports_in_a_way_of_his_own_sees_every_call() -> None:
    call = _call(CusTokenUsage(1_000, 500))
    mixed = _Mixed("no key")
    mixed.report_call(call)
    assert mixed.__dict__["seen"] == [call.record()]
    replaced = CusReporter("no key")
    replaced.__dict__["report"] = (spy := Mock())
    replaced.report_call(call)
    with patch.object(CusReporter, "report") as patched:
        CusReporter("no key").report_call(call)
    for seen in (spy, patched):
        seen.assert_called_once_with(call.record())


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x03x", b"\x02[]", b"\x02{", b"\x01short"])
def test_bytes_that_are_no_record_are_an_error_and_nothing_worse(payload: bytes) -> None:
    with pytest.raises((ValueError, StructError)):
        decode_record(payload, "p", 1)
