"""JSON texts from programs: a batch's body, and whatever can be read of a text that is not quite JSON."""

import json
import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aos_sdk import cus_wire as wire
from telemetry.cus_delivery.announcements import ANNOUNCED, announcement_of
from telemetry.cus_delivery.sequences import Announcement


class BodyUnreadable(ValueError):
    """The body as a whole is not what this endpoint takes."""


class _Batch(msgspec.Struct):
    records: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=wire.MAX_BATCH_RECORDS)]
    # Read afterwards: nothing that is wrong with them may cost a record its place.
    process_id: msgspec.Raw = msgspec.Raw()
    last_sequence: msgspec.Raw = msgspec.Raw()
    dropped: msgspec.Raw = msgspec.Raw()


_batch_decoder = msgspec.json.Decoder(_Batch)
# Deeper than anything that is kept, shallower than what a parser's recursion can bear.
_PARSED_DEPTH = 32
# The next brackets that are not in a string, or the end. Possessive, and it matches everywhere:
# no text makes this read a part twice, not even a string without an end.
_BRACKETS = re.compile(r'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+"?+)*+([\[{]++|[\]}]++|\Z)', re.DOTALL)
# More than a batch of 4 MiB holds whose values have names; what is over costs no time.
_MOST_TURNS = 250_000
_MOST_COMMAS = 400_000
_TOO_MANY_VALUES = "The body holds more values than a batch can. Send fewer records."
_HUGE = 1 << 80


def read_batch(body: bytes) -> tuple[list[bytes | Any], Announcement | None]:
    """The records of a batch body, not yet decoded, and what it announces. Raises BodyUnreadable."""
    try:
        batch = _batch_decoder.decode(body)
    except (ValueError, RecursionError):
        # Seldom: what one record has in it must not cost the others their place.
        parsed = parse_leniently(body)
        return _records_of(parsed), announcement_of(parsed)
    said = {name: _plain(getattr(batch, name)) for name in ANNOUNCED}
    return [bytes(raw) for raw in batch.records], announcement_of(said)


def _plain(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw) if bytes(raw) else None
    except (ValueError, RecursionError):
        return None


def _records_of(parsed: Any) -> list[Any]:
    records = parsed.get("records") if isinstance(parsed, dict) else None
    if isinstance(records, list) and 0 < len(records) <= wire.MAX_BATCH_RECORDS:
        return records
    msg = f'The body must be {{"records": [1 to {wire.MAX_BATCH_RECORDS} records]}}.'
    raise BodyUnreadable(msg)


def parse_leniently(raw: bytes) -> Any:
    """What is in a JSON text, whatever else is in it: bad UTF-8, huge numbers, deep nesting.

    Raises BodyUnreadable, before the text is parsed, if it holds more values than a batch can.
    """
    text = raw.decode("utf-8-sig", "replace")
    if text.count(",") > _MOST_COMMAS:
        raise BodyUnreadable(_TOO_MANY_VALUES)
    text = _flattened(text)
    try:
        return json.loads(text, parse_int=_bounded_int)
    except ValueError:
        raise BodyUnreadable("The body is not JSON.") from None


def _bounded_int(digits: str) -> int:
    # Reading ten thousand digits takes long and Python refuses it; any count is far shorter.
    return int(digits) if len(digits) <= 20 else _HUGE


def _flattened(text: str) -> str:
    """The text with null for whatever is nested deeper than a parser can bear.

    Raises BodyUnreadable if nesting goes up and down more often than in any batch.
    """
    kept: list[str] = []
    depth = done = 0
    for turn, token in enumerate(_BRACKETS.finditer(text)):
        if turn > _MOST_TURNS:
            raise BodyUnreadable(_TOO_MANY_VALUES)
        before, at = depth, token.start(1)
        if token[1].startswith(("[", "{")):
            depth += len(token[1])
            if before <= _PARSED_DEPTH < depth:
                kept += text[done : at + _PARSED_DEPTH - before], "null"
        else:
            depth -= len(token[1])
            if depth <= _PARSED_DEPTH < before:
                done = at + before - _PARSED_DEPTH
    return "".join((*kept, text[done:])) if depth <= _PARSED_DEPTH else ""
