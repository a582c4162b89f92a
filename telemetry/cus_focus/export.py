"""Charges as lines of a FOCUS file: CSV or JSON lines."""

import csv
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from typing import Any

import msgspec
import structlog
from django.db import DatabaseError

from integrations.cus_console.export import safe_cell
from telemetry.cus_focus.columns import COLUMNS, Charge

log = structlog.get_logger(__name__)

_AT_ONCE = 500
# Decimals are numbers in JSON, digit by digit, never through a float.
_JSON = msgspec.json.Encoder(decimal_format="number")


class FocusFormat(StrEnum):
    """How the rows are written."""

    CSV = "csv"
    JSONL = "jsonl"

    @property
    def media_type(self) -> str:
        """The media type of the file."""
        return "text/csv; charset=utf-8" if self is FocusFormat.CSV else "application/jsonl"


def focus_lines(charges: Iterable[Charge], written: FocusFormat) -> Iterator[str]:
    """The file in pieces of some hundred lines.

    If the database gives up in the midst, the last line says so, because the answer has begun.
    """
    lines = _csv(charges) if written is FocusFormat.CSV else _jsonl(charges)
    while some := list(islice(lines, _AT_ONCE)):
        yield "".join(some)


class _Echo:
    """A file for `csv` whose `write` returns the line."""

    def write(self, line: str) -> str:
        return line


def _csv(charges: Iterable[Charge]) -> Iterator[str]:
    writer: Any = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for row in _rows(charges):
        if isinstance(row, str):
            yield writer.writerow([row])
        else:
            yield writer.writerow(_cell(row[name]) for name in COLUMNS)


def _jsonl(charges: Iterable[Charge]) -> Iterator[str]:
    for row in _rows(charges):
        fields = {"error": row} if isinstance(row, str) else {name: row[name] for name in COLUMNS}
        yield _JSON.encode(fields).decode() + "\n"


def _rows(charges: Iterable[Charge]) -> Iterator[dict[str, Any] | str]:
    """The rows; a text instead of the rest, if the database gives up."""
    count = 0
    try:
        for charge in charges:
            yield charge.row()
            count += 1
    except DatabaseError:
        log.exception("a FOCUS export was cut", rows=count)
        yield f"CUT after {count:,} rows: the database gave up. Name a shorter period."


def _cell(value: str | Decimal | dict[str, str] | None) -> str:
    """A cell; texts are escaped, so that a spreadsheet takes none for a formula."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:f}" if isinstance(value, Decimal) else safe_cell(value)
