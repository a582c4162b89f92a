"""Decode records as they come over the wire: strictly, each standing for itself (E3a, E4).

A record is refused only where it could not be counted: call id, model, tokens, cost,
integration. Anything else that is bad is cut or dropped, the row says which
(`cut:<field>`, `dropped:<field>`), and the money is kept.

A good record is decoded by msgspec in one pass. Only a record that fails that is looked at
field by field.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, cast, get_type_hints

import msgspec

from aos_sdk import cus_wire as wire
from aos_sdk.cus_fields import FIELDS
from aos_sdk.cus_wire import json_may_hold_secret, mask_json, mask_name, mask_secrets
from telemetry.cus_delivery.announcements import is_count, process_name
from telemetry.cus_delivery.sequences import Origin
from telemetry.cus_evidence.bodies import BodyUnreadable, parse_leniently
from telemetry.cus_evidence.names import FREE_TEXTS, LENGTHS, UNSTORABLE, tag_as_stored
from telemetry.cus_evidence.usage_record import UsageRecord


@dataclass(frozen=True)
class Decoded:
    """A record that can be counted, and what had to be cut or dropped for that."""

    record: UsageRecord
    flags: list[str]


class RecordRefused(Exception):
    """A record that could not be counted: which field, why, and whose it was if it says so."""

    def __init__(self, attr: str | None, code: str, detail: str, call_id: str = "") -> None:
        super().__init__(detail)
        self.attr, self.code, self.detail, self.call_id = attr, code, detail, call_id


_TYPES: dict[str, Any] = get_type_hints(UsageRecord, include_extras=True)
_COUNTED = frozenset(field.name for field in FIELDS if field.refuses)
_REQUIRED = tuple(field.name for field in FIELDS if field.required and field.refuses)
_HINTS = {
    "call_id": f"1 to {wire.MAX_CALL_ID_LENGTH} printable ASCII characters without spaces",
    "model": f"a text of 1 to {wire.MAX_MODEL_LENGTH} characters",
    "integration_id": "a UUID",
}
_COUNT_HINT = f"an integer from 0 to {wire.INT32_MAX} (not a text, a fraction or a boolean)"
_NUL_ESCAPE = b"\\u0000"
_record_decoder = msgspec.json.Decoder(UsageRecord)


_free_texts = attrgetter(*FREE_TEXTS)


def decode_record(raw: bytes | Any) -> Decoded:
    """A record from its JSON (or from what a JSON parser made of it). Raises RecordRefused."""
    decoded = _decode_strictly(raw) if isinstance(raw, bytes) else None
    if decoded is None:
        decoded = _decode_by_field(raw)
    record = decoded.record
    record.provider = record.provider or None
    if record.host:
        record.host = record.host.lower()
    record.turns, record.tags = record.turns or None, record.tags or None
    _mask(record)
    return decoded


def _mask(record: UsageRecord) -> None:
    """Blank out what looks like a key wherever a sender writes freely (ruling E9).

    Not in `call_id`, `process_id`, `response_id`, `host`, and names of models and providers: calls
    are found, counted and priced by them.
    """
    for name, masked in _masked_texts(_free_texts(record)):
        setattr(record, name, masked)
    if record.error_message:
        record.error_message = mask_secrets(record.error_message)
    if record.metadata:
        record.metadata = _masked_object(record.metadata)
    if record.billed_units:
        record.billed_units = _masked_object(record.billed_units)
    if record.decision:
        record.decision = _masked_object(record.decision)
    if record.tags:
        record.tags = list(map(tag_as_stored, record.tags))
    for turn in record.turns or ():
        turn.service_tier = turn.service_tier and mask_name(turn.service_tier)[:50]


@lru_cache(maxsize=4_096)
def _masked_texts(texts: tuple[str | None, ...]) -> list[tuple[str, str]]:
    """Those of a record's free texts that a mask changes, by name. Programs repeat themselves."""
    return [
        (name, masked[: LENGTHS[name]])
        for (name, mask), text in zip(FREE_TEXTS.items(), texts, strict=True)
        if text and (masked := mask(text)) != text
    ]


def _masked_object(value: dict[str, Any]) -> dict[str, Any]:
    # To look at the JSON is quicker than to look at each text in it.
    document = msgspec.json.encode(value)
    is_short = len(document) <= _SHORT_OBJECT
    suspect = _short_is_suspect(document) if is_short else json_may_hold_secret(document)
    return cast("dict[str, Any]", mask_json(value)) if suspect else value


# Programs repeat short metadata; long ones would take memory and seldom repeat.
_SHORT_OBJECT = 256
_short_is_suspect = lru_cache(maxsize=4_096)(json_may_hold_secret)


def _decode_strictly(raw: bytes) -> Decoded | None:
    """A record with nothing to mend, in one pass; None for any other."""
    if _NUL_ESCAPE in raw:
        return None
    try:
        record = _record_decoder.decode(raw)
    except (ValueError, RecursionError):
        return None
    storable = map(_fits, (record.metadata, record.billed_units, record.decision))
    return Decoded(record, []) if all(storable) else None


def _decode_by_field(raw: bytes | Any) -> Decoded:
    fields = _fields_of(raw)
    known_as = _known_as(fields.get("call_id"))
    for name in _REQUIRED:
        if fields.get(name) is None:
            raise RecordRefused(name, "required", f"{name} is missing.", known_as)
    flags: list[str] = []
    values: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _COUNTED and value is not None:
            values[name] = _counted(name, value, known_as)
        elif name in _TYPES and value is not None:
            values[name], flag = _decoration(name, value)
            if flag:
                flags.append(f"{flag}:{name}")
    stated = {name: value for name, value in values.items() if value is not None}
    return Decoded(UsageRecord(**stated), sorted(flags))


def _fields_of(raw: bytes | Any) -> dict[str, Any]:
    try:
        fields = parse_leniently(raw) if isinstance(raw, bytes) else raw
    except BodyUnreadable:
        raise RecordRefused(None, "invalid", "The record is not JSON that can be read.") from None
    if not isinstance(fields, dict):
        raise RecordRefused(None, "invalid", "A record must be a JSON object.")
    return fields


def _known_as(call_id: Any) -> str:
    """The call id by which a refused record is named in the answer."""
    return UNSTORABLE.sub("?", call_id)[:100] if isinstance(call_id, str) else ""


def _counted(name: str, value: Any, known_as: str) -> Any:
    try:
        return msgspec.convert(value, _TYPES[name])
    except ValueError:
        detail = f"{name} must be {_HINTS.get(name, _COUNT_HINT)}."
        raise RecordRefused(name, "invalid", detail, known_as) from None


def _decoration(name: str, value: Any) -> tuple[Any, str | None]:
    """A value that can be stored, and what had to be done for that: `cut`, `dropped`, nothing."""
    mended = value
    if isinstance(value, str):
        mended = UNSTORABLE.sub("", value)[: LENGTHS.get(name)]
    elif name == "tags" and isinstance(value, list):
        mended = [UNSTORABLE.sub("", tag)[: wire.MAX_TAG_LENGTH] for tag in value if _is_tag(tag)]
        mended = mended[: wire.MAX_TAGS]
    elif isinstance(value, dict) and not _fits(value):
        return None, "dropped"
    try:
        return msgspec.convert(mended, _TYPES[name]), None if mended == value else "cut"
    except ValueError:
        return None, "dropped"


def _is_tag(value: Any) -> bool:
    return isinstance(value, str) and 0 < value.find("=") < wire.MAX_TAG_LENGTH


def _fits(value: dict[str, Any] | None) -> bool:
    """Whether an object is small, shallow and storable as it is (ruling E9)."""
    if not value:
        return True
    return (
        _is_storable(value, wire.MAX_METADATA_DEPTH)
        and len(msgspec.json.encode(value)) <= wire.MAX_METADATA_BYTES
    )


def _is_storable(value: Any, depth: int) -> bool:
    """Whether PostgreSQL can keep a value as it is, within so many levels."""
    if isinstance(value, str):
        return not UNSTORABLE.search(value)
    if isinstance(value, int):
        return abs(value) < 2**63
    if isinstance(value, float):
        return math.isfinite(value)
    items = (*value, *value.values()) if isinstance(value, dict) else value or ()
    return value is None or (depth > 0 and all(_is_storable(item, depth - 1) for item in items))


def origin_of(raw: bytes | Any) -> list[Origin]:
    """Process and sequence of a record that was refused, as far as they can be read."""
    try:
        fields = _fields_of(raw)
    except RecordRefused:
        return []
    process_id, sequence = process_name(fields.get("process_id")), fields.get("sequence")
    return [(process_id, sequence)] if process_id and is_count(sequence) else []
