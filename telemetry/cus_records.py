"""Records as they come over the wire: strictly decoded, each standing for itself (E3a, E4).

A record is refused only where it could not be counted: call id, model, tokens, cost,
integration. Anything else that is bad is cut or dropped, the row says which
(`cut:<field>`, `dropped:<field>`), and the money is kept.

A good record is decoded by msgspec in one pass. Only a record that fails that is looked at
field by field.
"""

import json
import re
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from aos_sdk import cus_wire as wire

Count = Annotated[int, Meta(ge=0, le=wire.INT32_MAX)]
CallId = Annotated[str, Meta(pattern=r"^[!-~]{1,100}\Z")]
ModelName = Annotated[str, Meta(pattern=r"^[^\x00\ud800-\udfff]{1,100}\Z")]
Text50 = Annotated[str, Meta(max_length=50)]
Text100 = Annotated[str, Meta(max_length=100)]
Text1000 = Annotated[str, Meta(max_length=wire.MAX_ERROR_MESSAGE_LENGTH)]
BigCount = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class UsageRecord(msgspec.Struct):
    """One call as its program reported it (§4.3). Tokens are counts, cost is in cents."""

    call_id: CallId
    model: ModelName
    tokens_in: Count
    tokens_out: Count
    integration_id: uuid.UUID | None = None
    cost_cents: Count | None = None
    tokens_cached: Count = 0
    tokens_cache_write: Count = 0
    tokens_cache_write_1h: Count = 0
    tokens_reasoning: Count = 0
    tokens_audio_in: Count = 0
    tokens_audio_out: Count = 0
    tokens_image_in: Count = 0
    tokens_total: Count | None = None
    # Up to here a bad value refuses the record; from here on it is cut or dropped.
    timestamp: Text50 | None = None
    provider: Text50 | None = None
    session_id: Text100 | None = None
    agent_id: Text100 | None = None
    latency_ms: Count | None = None
    policy_result: wire.CusPolicyResult = wire.CusPolicyResult.ALLOWED
    error_code: Text50 | None = None
    error_message: Text1000 | None = None
    metadata: dict[str, Any] = {}
    operation: wire.CusOperation = wire.CusOperation.OTHER
    stream: bool = False
    service_tier: Text50 | None = None
    billed_units: dict[str, Any] | None = None
    pricing_version: Text100 | None = None
    process_id: Text100 | None = None
    sequence: BigCount | None = None
    lease_id: uuid.UUID | None = None
    degraded: bool = False


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


class BodyUnreadable(ValueError):
    """The body as a whole is not what this endpoint takes."""


class _Batch(msgspec.Struct):
    records: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=wire.MAX_BATCH_RECORDS)]


_TYPES: dict[str, Any] = get_type_hints(UsageRecord, include_extras=True)
_COUNTED = frozenset(
    ["call_id", "model", "integration_id", "cost_cents"]
    + [name for name in _TYPES if name.startswith("tokens_")]
)
_REQUIRED = ("call_id", "model", "tokens_in", "tokens_out")
_HINTS = {
    "call_id": "1 to 100 printable ASCII characters without spaces",
    "model": f"a text of 1 to {wire.MAX_MODEL_LENGTH} characters",
    "integration_id": "a UUID",
}
_COUNT_HINT = f"an integer from 0 to {wire.INT32_MAX} (not a text, a fraction or a boolean)"
_LENGTHS = {
    "timestamp": 50,
    "provider": wire.MAX_PROVIDER_LENGTH,
    "session_id": wire.MAX_SESSION_ID_LENGTH,
    "agent_id": wire.MAX_AGENT_ID_LENGTH,
    "error_code": wire.MAX_ERROR_CODE_LENGTH,
    "error_message": wire.MAX_ERROR_MESSAGE_LENGTH,
    "service_tier": 50,
    "pricing_version": 100,
    "process_id": 100,
}
# PostgreSQL's text and jsonb can hold neither.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_NUL_ESCAPE = b"\\u0000"

_record_decoder = msgspec.json.Decoder(UsageRecord)
_batch_decoder = msgspec.json.Decoder(_Batch)


def split_batch(body: bytes) -> list[bytes | Any]:
    """The records of a batch body, undecoded. Raises BodyUnreadable."""
    try:
        return [bytes(raw) for raw in _batch_decoder.decode(body).records]
    except msgspec.ValidationError as error:
        msg = f'The body must be {{"records": [1 to {wire.MAX_BATCH_RECORDS} records]}}: {error}.'
        raise BodyUnreadable(msg) from None
    except msgspec.DecodeError:
        return _split_leniently(body)
    except RecursionError:
        raise BodyUnreadable(_TOO_DEEP) from None


_TOO_DEEP = "The body is nested too deeply to be read."
_NOT_JSON = "The body is not JSON in UTF-8."


def _split_leniently(body: bytes) -> list[Any]:
    # One lone surrogate in a text makes msgspec refuse the whole body; Python's own parser
    # reads it, so that the other records, and this one's money, are kept.
    try:
        records = json.loads(body)["records"]
    except RecursionError:
        raise BodyUnreadable(_TOO_DEEP) from None
    except (ValueError, TypeError, KeyError):
        raise BodyUnreadable(_NOT_JSON) from None
    if not isinstance(records, list) or not 0 < len(records) <= wire.MAX_BATCH_RECORDS:
        msg = f"A batch holds 1 to {wire.MAX_BATCH_RECORDS} records."
        raise BodyUnreadable(msg)
    return records


def decode_record(raw: bytes | Any) -> Decoded:
    """A record from its JSON (or from what a JSON parser made of it). Raises RecordRefused."""
    if isinstance(raw, bytes) and _NUL_ESCAPE not in raw:
        try:
            record = _record_decoder.decode(raw)
        except (ValueError, RecursionError):
            return _decode_by_field(_parse(raw))
        if _fits(record.metadata) and _fits(record.billed_units):
            return Decoded(record, [])
    return _decode_by_field(_parse(raw) if isinstance(raw, bytes) else raw)


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise RecordRefused(None, "invalid", "The record is not JSON that can be read.") from None


def _decode_by_field(fields: Any) -> Decoded:
    if not isinstance(fields, dict):
        raise RecordRefused(None, "invalid", "A record must be a JSON object.")
    call_id = fields.get("call_id")
    known_as = call_id[:100] if isinstance(call_id, str) else ""
    for name in _REQUIRED:
        if fields.get(name) is None:
            raise RecordRefused(name, "required", f"{name} is missing.", known_as)
    flags: list[str] = []
    values: dict[str, Any] = {}
    for name in _TYPES.keys() & fields.keys():
        if fields[name] is None:
            continue
        if name in _COUNTED:
            values[name] = _counted(name, fields[name], known_as)
        else:
            _take_decoration(name, fields[name], values, flags)
    return Decoded(UsageRecord(**values), sorted(flags))


def _counted(name: str, value: Any, known_as: str) -> Any:
    try:
        return msgspec.convert(value, _TYPES[name])
    except (msgspec.ValidationError, UnicodeEncodeError):
        detail = f"{name} must be {_HINTS.get(name, _COUNT_HINT)}."
        raise RecordRefused(name, "invalid", detail, known_as) from None


def _take_decoration(name: str, value: Any, values: dict[str, Any], flags: list[str]) -> None:
    mended = _mended(name, value)
    if mended != value:
        flags.append(f"cut:{name}")
    try:
        values[name] = msgspec.convert(mended, _TYPES[name])
    except (ValueError, RecursionError):
        flags[:] = [*(flag for flag in flags if flag != f"cut:{name}"), f"dropped:{name}"]


def _mended(name: str, value: Any) -> Any:
    """The value with what can't be stored taken out, or cut to length; else as it was."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("", value)[: _LENGTHS.get(name)]
    if name in ("metadata", "billed_units") and not (isinstance(value, dict) and _fits(value)):
        return None
    return value


def _fits(value: dict[str, Any] | None) -> bool:
    """Whether an object is small, shallow and storable (ruling E9)."""
    if not value:
        return True
    try:
        encoded = msgspec.json.encode(value)
    except (ValueError, OverflowError, RecursionError):
        return False
    storable = _NUL_ESCAPE not in encoded and not _UNSTORABLE.search(encoded.decode())
    return storable and len(encoded) <= wire.MAX_METADATA_BYTES and _depth(value) <= _MAX_DEPTH


_MAX_DEPTH = wire.MAX_METADATA_DEPTH


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
