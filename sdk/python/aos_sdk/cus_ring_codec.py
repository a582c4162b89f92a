"""Usage records as bytes, and back: quick for the usual record, complete for every other.

The usual record is a struct of its numbers and its texts joined by a separator: a microsecond and
a half on the caller's clock. Whatever does not fit that form (metadata, errors with a message,
numbers that are none) is stored as the JSON that would be sent, already cut and masked, so that no
secret ever reaches the disk.
"""

import json
from struct import Struct
from struct import error as StructError
from typing import Any, Final

from aos_sdk.cus_record import DETAILS, TEXT_LIMITS, CusUsageRecord, encoded_json, iso_moment
from aos_sdk.cus_wire import MAX_MODEL_LENGTH, MAX_PROVIDER_LENGTH

_PLAIN: Final = 1
_JSON: Final = 2
_JSON_PREFIX: Final = bytes((_JSON,))
# Kind, stream, timestamp in nanoseconds, twelve numbers of which four may be missing.
_NUMBERS: Final = Struct("<B?q12i")
_MISSING: Final = -1
# No key or name of anybody's holds it; a text that does travels as JSON.
_SEPARATOR: Final = "\x1f"
_NAMES: Final = (
    "error_code",
    "session_id",
    "agent_id",
    "integration_id",
    "service_tier",
    "pricing_version",
    "operation",
)
_TEXTS: Final = 4 + len(_NAMES)
_MAY_MISS: Final = ("cost_cents", "latency_ms", "tokens_total")


def encode_any(record: CusUsageRecord) -> bytes:
    """The bytes of any record. Raises what its values raise if no JSON can hold it."""
    return _JSON_PREFIX + encoded_json(record.to_dict())


def encode_plain(r: CusUsageRecord) -> bytes:
    """The bytes of a usual record; none at all for any other, which `encode_any` is for."""
    try:
        if r.metadata is None and r.error_message is None and r.billed_units is None:
            return _packed(r)
    except (TypeError, AttributeError, StructError, UnicodeError):
        return b""
    return b""


def _packed(r: CusUsageRecord) -> bytes:
    # An empty text and a missing one mean the same to the server.
    texts = _SEPARATOR.join(
        (
            r.call_id,
            r.model,
            r.provider or "",
            r.policy_result,
            r.error_code or "",
            r.session_id or "",
            r.agent_id or "",
            r.integration_id or "",
            r.service_tier or "",
            r.pricing_version or "",
            r.operation or "",
        )
    )
    if texts.count(_SEPARATOR) != _TEXTS - 1:
        return b""
    cost, latency, total = r.cost_cents, r.latency_ms, r.tokens_total
    return (
        _NUMBERS.pack(
            _PLAIN,
            r.stream,
            r.timestamp,  # no number: a struct error, and so JSON
            r.tokens_in,
            r.tokens_out,
            _MISSING if cost is None else cost,
            _MISSING if latency is None else latency,
            r.tokens_cached,
            r.tokens_cache_write,
            r.tokens_cache_write_1h,
            r.tokens_reasoning,
            r.tokens_audio_in,
            r.tokens_audio_out,
            r.tokens_image_in,
            _MISSING if total is None else total,
        )
        + texts.encode()
    )


def decode_record(payload: bytes) -> dict[str, Any]:
    """The record as the wire has it. Raises ValueError for bytes that this module never made."""
    if payload[:1] == _JSON_PREFIX:
        data = json.loads(payload[1:])
        if not isinstance(data, dict):
            message = "a stored record is no object"
            raise ValueError(message)
        return data
    if not payload or payload[0] != _PLAIN:
        message = "a stored record is of an unknown kind"
        raise ValueError(message)
    return _decode_plain(payload)


def _decode_plain(payload: bytes) -> dict[str, Any]:
    """What `to_dict` says of the record, made without it: this runs for every record."""
    _, stream, timestamp, *numbers = _NUMBERS.unpack_from(payload)
    texts = payload[_NUMBERS.size :].decode().split(_SEPARATOR)
    call_id, model, provider, policy_result, *names = texts
    tokens_in, tokens_out, cost, latency, *details, total = numbers
    data: dict[str, Any] = {
        "call_id": call_id,
        "model": model[:MAX_MODEL_LENGTH],
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "policy_result": policy_result,
        "timestamp": iso_moment(timestamp),
    }
    if provider:
        data["provider"] = provider[:MAX_PROVIDER_LENGTH]
    for name, text in zip(_NAMES, names, strict=True):
        if text:
            data[name] = text[: TEXT_LIMITS.get(name)]
    for name, number in zip(_MAY_MISS, (cost, latency, total), strict=True):
        if number != _MISSING:
            data[name] = number
    if any(details):
        data.update((name, n) for name, n in zip(DETAILS, details, strict=False) if n)
    if stream:
        data["stream"] = True
    return data
