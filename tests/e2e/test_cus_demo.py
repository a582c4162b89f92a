"""Traces: read exactly, refused in plain words."""

from pathlib import Path

import pytest

from aos_project.cus_demo.cus_trace import TraceUnreadable, read_trace, synthetic_trace
from tests.conftest import ROOT

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
PRODUCTION = ROOT.parent / "shared/data/azure-llm-inference-2023-code.csv"


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return path


def test_a_trace_is_read_in_the_order_of_its_times(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        HEADER + "2023-11-16 18:17:05.0000000,7,3\n2023-11-16 18:17:03.9799600,4808,10\n",
    )

    trace = read_trace(path)

    assert [(call.tokens_in, call.tokens_out) for call in trace.calls] == [(4808, 10), (7, 3)]
    assert trace.calls[1].offset_seconds == pytest.approx(1.02004, abs=1e-5)
    assert (trace.tokens_in, trace.tokens_out) == (4815, 13)


def test_the_same_calls_have_the_same_ids_and_others_have_others(tmp_path: Path) -> None:
    first = read_trace(_file(tmp_path, HEADER + "2023-01-01 00:00:00,1,2\n"))
    again = read_trace(_file(tmp_path, HEADER + "2024-01-01 00:00:00,1,2\n"))
    other = read_trace(_file(tmp_path, HEADER + "2023-01-01 00:00:00,1,3\n"))

    assert first.call_ids == again.call_ids
    assert first.call_ids != other.call_ids


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks the column"),
        ("a,b,c\n1,2,3\n", "lacks the column ContextTokens, GeneratedTokens, TIMESTAMP"),
        (HEADER, "has no calls"),
        (HEADER + "2023-01-01 00:00:00,1,2\nyesterday,1,2\n", "Line 3"),
        (HEADER + "2023-01-01 00:00:00,one,2\n", "Line 2"),
        (HEADER + "2023-01-01 00:00:00,1\n", "Line 2"),
        (HEADER + "2023-01-01 00:00:00,-1,2\n", "Line 2 of the trace counts below zero"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_in_plain_words(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(TraceUnreadable, match=says):
        read_trace(_file(tmp_path, text))


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(TraceUnreadable, match="No such file"):
        read_trace(tmp_path / "nowhere.csv")


def test_the_built_in_trace_is_the_same_every_time() -> None:
    assert synthetic_trace() == synthetic_trace()
    assert len(synthetic_trace().calls) == 500


@pytest.mark.skipif(not PRODUCTION.exists(), reason="the production trace is not here")
def test_the_production_trace_is_read_to_the_last_token() -> None:
    trace = read_trace(PRODUCTION)

    assert len(trace.calls) == 8_819
    assert (trace.tokens_in, trace.tokens_out) == (18_059_974, 245_896)
