"""Traces of a production LLM service: the time of each call, and its tokens."""

import csv
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_SYNTHETIC_CALLS = 500


class TraceUnreadable(ValueError):
    """The file is not a trace; the message names the line and the reason."""


@dataclass(frozen=True)
class TraceCall:
    """One call: seconds since the trace's first, tokens in and out."""

    offset_seconds: float
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True)
class Trace:
    """A named series of calls. The same calls have the same digest, hence the same call ids."""

    name: str
    calls: list[TraceCall]

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that stand for the calls."""
        text = "\n".join(f"{call.tokens_in},{call.tokens_out}" for call in self.calls)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @cached_property
    def call_ids(self) -> list[str]:
        """A call id for each call, the same at every replay."""
        return [f"trace-{self.digest}-{number:07d}" for number in range(len(self.calls))]

    @property
    def tokens_in(self) -> int:
        return sum(call.tokens_in for call in self.calls)

    @property
    def tokens_out(self) -> int:
        return sum(call.tokens_out for call in self.calls)


def read_trace(path: Path) -> Trace:
    """The trace in a CSV file with the columns of `COLUMNS`. Raises TraceUnreadable."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(_rows(csv.DictReader(file)))
    except OSError as error:
        msg = f"{path}: {error.strerror}. Name a CSV file with {', '.join(COLUMNS)}."
        raise TraceUnreadable(msg) from None
    except UnicodeDecodeError:
        msg = f"{path} is not a text in UTF-8."
        raise TraceUnreadable(msg) from None
    if not rows:
        msg = f"{path} has no calls in it."
        raise TraceUnreadable(msg)
    return Trace(path.name, _calls(rows))


def synthetic_trace() -> Trace:
    """A small trace for use without a file, the same every time."""
    chance = random.Random(2023)  # noqa: S311  (no secret)
    offset, calls = 0.0, []
    for _ in range(_SYNTHETIC_CALLS):
        offset += chance.expovariate(2.5)
        tokens_in = min(int(chance.lognormvariate(7, 1)), 8_000) + 1
        calls.append(TraceCall(offset, tokens_in, int(chance.expovariate(1 / 40)) + 1))
    return Trace("a small built-in trace", calls)


def _rows(reader: "csv.DictReader[str]") -> Iterator[tuple[datetime, int, int]]:
    missing = set(COLUMNS) - set(reader.fieldnames or ())
    if missing:
        msg = f"The trace lacks the column {', '.join(sorted(missing))}."
        raise TraceUnreadable(msg)
    for row in reader:
        try:
            moment = datetime.fromisoformat(row["TIMESTAMP"])
            tokens = int(row["ContextTokens"]), int(row["GeneratedTokens"])
        except (TypeError, ValueError):
            msg = f"Line {reader.line_num} of the trace is not a time and two counts."
            raise TraceUnreadable(msg) from None
        if min(tokens) < 0:
            msg = f"Line {reader.line_num} of the trace counts below zero."
            raise TraceUnreadable(msg)
        yield moment.replace(tzinfo=None), *tokens


def _calls(rows: list[tuple[datetime, int, int]]) -> list[TraceCall]:
    rows.sort(key=lambda row: row[0])
    start = rows[0][0]
    return [
        TraceCall((moment - start).total_seconds(), tokens_in, tokens_out)
        for moment, tokens_in, tokens_out in rows
    ]
