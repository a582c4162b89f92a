"""What the SDK's figures rest on. How fast anything is, no test says."""

import gzip
import json
import tempfile
import urllib.request
from pathlib import Path

import pytest

from benchmarks import cus_sdk, cus_sdk_faults
from benchmarks.cus_sdk_contestants import OURS, Contestant
from benchmarks.cus_sdk_field import field_of
from benchmarks.cus_sdk_sink import Sink


def test_controls_and_ours_are_measured_and_everything_arrives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = ("peers", "calls", "chunks", "delivery")
    assert cus_sdk.run(cus_sdk.TINY, parts, ()) == 0
    printed = capsys.readouterr().out
    for row in ("bare once more", "empty patch", "ours, durable", "ours, in memory"):
        assert row in printed
    # Two turns of 50, the first of them to warm up, from each of ours.
    assert printed.count("all 100") == len(OURS)
    assert "FAILED" not in printed


def test_who_cannot_begin_is_left_out_with_the_reason() -> None:
    with field_of([Contestant("nobody", "a peer that is broken"), OURS[1]]) as field:
        assert [measured.contestant for measured in field.taking_part] == [OURS[1]]
    assert field.notes == ["[yellow]FAILED: a peer that is broken[/]: KeyError: 'nobody'"]


def test_who_tells_nobody_is_failed_and_not_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sink, "read", lambda sink: None)
    with field_of([OURS[1]]) as field:
        field.rounds("calls", {OURS[1].name: 50}, 1)
        assert not field.taking_part
    assert "received nothing" in field.notes[0]


def test_a_killed_program_s_events_arrive_with_the_next_one() -> None:
    sizes = cus_sdk_faults.FaultSizes(30, 0.5, 0.2, next_seconds=20)
    with tempfile.TemporaryDirectory() as folder:
        trial = cus_sdk_faults.Trial(OURS[0], Path(folder), sizes)
        try:
            outcome = cus_sdk_faults.killed("sigkill")(trial, sizes)
        finally:
            trial.close()
    assert (outcome.events, outcome.after_next) == (30, 30)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/traces",
            # A resource, then its scope spans: a scope, a span of an answer (with a number in it), and
            # one that says nothing of an answer.
            _field(
                1,
                _field(1, b"chatcmpl-00000009")
                + _field(2, _field(1, b"name") + _field(2, b"\x30\x81\x01" + _field(5, b"x")))
                + _field(2, _field(2, b"\x30\x81\x01" + _field(9, b"chatcmpl-00000001"))),
            ),
        ),
        ("/batch/", b'{"batch": [{"text": "chatcmpl-00000001"}, {"event": "other"}]}'),
        ("/runs/multipart", b"--b\r\n\r\n{}\r\n--b\r\n\r\nchatcmpl-00000001 x\r\n--b--\r\n"),
        (
            "/api/v1/cus/telemetry/llm-usage/batch",
            b'{"records": [{"call_id": "1"}, {"call_id": "2", "model": "gpt-4o-next-process"}]}',
        ),
    ],
    ids=["otlp", "batch", "multipart", "ours"],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_the_sink_counts_the_events_in_every_peer_s_words(
    path: str, body: bytes, *, compressed: bool
) -> None:
    sent = gzip.compress(body) if compressed else body
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    with Sink() as sink:
        for _ in range(2):
            request = urllib.request.Request(sink.url + path, sent, headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                json.load(answer)
        sink.read()
        assert (sink.events, len(sink.marks)) == (2, 1)
