"""Usage records as bytes, and back: quick for the usual record, complete for every other.

The usual record is a struct of its numbers and its texts joined by a separator: two microseconds on the
caller's clock. A governed call becomes one without the detour of a record object, and is priced and
named when it is read. Whatever does not fit that form (metadata, errors with a message, numbers that
are none) is stored as the JSON that would be sent, already cut and masked, so that no secret ever
reaches the disk.

The first byte of a payload names its kind: JSON, or one layout of the struct (`layouts`).
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from struct import error as StructError
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from aos_sdk.cus_cost import CusTokenUsage, cost_of_call
from aos_sdk.cus_delivery.ended_call import NO_USAGE, UNKNOWN_MODEL, CusEndedCall
from aos_sdk.cus_delivery.layouts import (
    LAYOUT,
    LAYOUTS,
    LEASE,
    LEASED_LAYOUT,
    MISSING,
    CusPlainLayout,
)
from aos_sdk.cus_pricing.places import CusPlace
from aos_sdk.cus_record import (
    TEXT_LIMITS,
    CusUsageRecord,
    call_id_of,
    encoded_json,
    iso_nanoseconds,
)
from aos_sdk.cus_tags import clean_tags
from aos_sdk.cus_wire import (
    KEY_SECRET_PREFIX,
    MAX_RESPONSE_ID_LENGTH,
    mask_name,
    mask_secrets,
)

_TO_BE_PRICED: Final = -2  # as a cost
_COST: Final = 0  # its place among the numbers of every layout
_JSON_PREFIX: Final = b"\2"
_KIND: Final = LAYOUT.prefix[0]
_pack: Final = LAYOUT.struct.pack
_LEASED_KIND: Final = LEASED_LAYOUT.prefix[0]
_pack_lease: Final = LEASE.pack
_OWN_SEPARATORS: Final = len(LAYOUT.own)  # the call id is before the first
# Keys and names do not hold it; a text that holds it travels as JSON.
_SEPARATOR: Final = "\x1f"
_BETWEEN_TAGS: Final = "\x1e"
# As `json` writes a text, without asking what it is.
_quoted: Final = json.encoder.encode_basestring
# The values of a payload that tell of its lease.
_OF_LEASE: Final = 4
_UNFIT: Final = (TypeError, ValueError, AttributeError, IndexError, StructError)

# What most calls of a program say in words, they all say: joined once, kept as long as it is little.
_Said: TypeAlias = tuple[str | Sequence[str] | None, ...]
_joined: dict[_Said, bytes] = {}
_MOST_JOINED: Final = 512
# Longer ones go the long way, and are cut there: they would take the room of other records.
_LONGEST_JOINED: Final = 1_024
# Within it no id is longer than it may be, so that reading a payload cuts none.
_LONGEST_OWN: Final = MAX_RESPONSE_ID_LENGTH


def encode_any(record: CusUsageRecord) -> bytes:
    """The bytes of any record. Raises what its values raise if no JSON can hold it."""
    return _JSON_PREFIX + encoded_json(record.to_dict())


def encode_plain(r: CusUsageRecord) -> bytes:
    """The bytes of a usual record; none at all for any other, which `encode_any` is for."""
    try:
        if (
            r.metadata is not None or r.error_message is not None or r.billed_units is not None
            or r.turns is not None or r.provider_cost_microcents is not None or not r.usage_known
            or r.degraded or r.decision is not None or r.lease_id is not None
            or r.reserved is not None
        ):  # fmt: skip
            return b""
        cost, latency, total = r.cost_cents, r.latency_ms, r.tokens_total
        # A negative one is the server's to refuse, and must not pass for one that is missing.
        if (cost or 0) | (latency or 0) | (total or 0) < 0:
            return b""
        said = (
            r.model, r.provider, r.policy_result, r.error_code, r.session_id, r.agent_id,
            r.service_tier, r.operation, r.integration_id, r.pricing_version, r.model_requested,
            r.host, r.region, r.provider_project, r.provider_key_hint, r.end_user, r.tags,
        )  # fmt: skip
        # A timestamp that is no number is a struct error, and so JSON.
        numbers = _pack(
            _KIND, r.stream, r.timestamp,
            MISSING if cost is None else cost, MISSING if latency is None else latency,
            r.tokens_in, r.tokens_out, r.tokens_cached, r.tokens_cache_write,
            r.tokens_cache_write_1h, r.tokens_reasoning, r.tokens_audio_in, r.tokens_audio_out,
            r.tokens_image_in, MISSING if total is None else total,
        )  # fmt: skip
        own = _own(r.call_id, r.response_id, r.provider_request_id)
        return numbers + own + (_joined.get(said) or _join(said))
    except _UNFIT:
        return b""


def encode_call(c: CusEndedCall) -> bytes:
    """The bytes of a call's record, without the record; none where that would lose something."""
    if (
        c.metadata is not None or c.error_message is not None or c.billed_units is not None
        or c.turns is not None or c.provider_cost_microcents is not None
        or c.degraded or c.decision is not None
        or (c.usage is None and not c.usage_known)
    ):  # fmt: skip
        return b""
    cost, latency, usage = c.cost_cents, c.latency_ms, c.usage
    try:
        # Negative ones are the server's to refuse, and must not pass for what they stand for here.
        if (cost is not None and cost < 0) or (latency is not None and latency < 0):
            return b""
        if cost is None:
            cost = _TO_BE_PRICED if usage is not None or c.wants_price else MISSING
        u = NO_USAGE if usage is None else usage
        total = u.tokens_total
        if total is None:
            total = MISSING
        elif total < 0:
            return b""
        origin = c.origin  # not unpacked: that takes memory for an iterator
        said = (
            c.model or UNKNOWN_MODEL, c.provider, c.policy_result, c.error_code, c.session_id,
            c.agent_id, c.service_tier, c.operation, None, None, c.model_requested,
            origin.host, origin.region, origin.provider_project, origin.provider_key_hint,
            c.end_user, c.tags,
        )  # fmt: skip
        reserved = c.reserved
        numbers = _pack(
            _KIND if reserved is None else _LEASED_KIND, c.stream, c.started_at, cost,
            MISSING if latency is None else latency,
            u.tokens_in, u.tokens_out, u.tokens_cached, u.tokens_cache_write,
            u.tokens_cache_write_1h, u.tokens_reasoning, u.tokens_audio_in, u.tokens_audio_out,
            u.tokens_image_in, total,
        )  # fmt: skip
        lease = b"" if reserved is None else _pack_lease(*reserved)
        call_id = "" if c.call_id is None else c.call_id
        own = _own(call_id, c.response_id, c.provider_request_id)
        return b"".join((numbers, lease, own, _joined.get(said) or _join(said)))
    except _UNFIT:
        return b""


def _join(said: _Said) -> bytes:
    """The texts as they are stored, after a separator.

    Raises TypeError for what is no text; ValueError for one that holds it, for long ones, and for
    what looks like a key.
    """
    # An empty text and a missing one mean the same to the server.
    text = _SEPARATOR.join(("", *map(_text, said)))
    if (
        text.count(_SEPARATOR) != len(said)
        or len(text) > _LONGEST_JOINED
        or mask_secrets(text) != text
    ):
        message = "a text holds the separator, or is to be cut or masked"
        raise ValueError(message)
    if len(_joined) >= _MOST_JOINED:
        _joined.clear()
    joined = _joined[said] = text.encode()
    return joined


def _text(said: str | Sequence[str] | None) -> str:
    if said is None or isinstance(said, str):
        return said or ""
    text = _BETWEEN_TAGS.join(said)
    if text.split(_BETWEEN_TAGS) != clean_tags(said):
        message = "tags are to be cut or masked"
        raise ValueError(message)
    return text


def _own(call_id: str, response_id: str | None, request_id: str | None) -> bytes:
    """The texts of this call alone. Raises as `_join` does."""
    if request_id is None:
        request_id = ""
    elif not _is_id(request_id) and mask_name(request_id) != request_id:
        message = "a text is to be masked"
        raise ValueError(message)
    if response_id is None:
        response_id = ""
    # Joined, not formatted: members of enumerations format as something else than they are.
    text = _SEPARATOR.join((call_id, response_id, request_id))
    if text.count(_SEPARATOR) != _OWN_SEPARATORS or len(text) > _LONGEST_OWN:
        message = "a text holds the separator, or is to be cut"
        raise ValueError(message)
    return text.encode()


def _is_id(text: str) -> bool:
    """Whether a text is an id of the usual kind, which no mask applies to. False is a guess.

    Letters and digits after `req_` have no place where a mask could begin, except for our own keys.
    """
    return text.startswith("req_") and text.isidentifier() and KEY_SECRET_PREFIX not in text


def decode_record(payload: bytes, process_id: str, sequence: int) -> dict[str, Any]:
    """The record as the wire has it, with the process and the number that it has there.

    Raises ValueError for bytes that this module never made.
    """
    if is_plain(payload):
        data = json.loads(plain_json(payload, process_id, sequence))
    elif payload[:1] == _JSON_PREFIX:
        data = json.loads(payload[1:])
    else:
        message = "a stored record is of an unknown kind"
        raise ValueError(message)
    if not isinstance(data, dict):
        message = "a stored record is no object"
        raise ValueError(message)
    return {**data, "process_id": process_id, "sequence": sequence}


def is_plain(payload: bytes) -> bool:
    """Whether `plain_json` can read it."""
    return payload[:1] in LAYOUTS


def plain_json(
    payload: bytes, process_id: str, sequence: int, integration_id: str | None = None
) -> bytes:
    """The JSON of a usual record; this runs for nearly every one.

    What encoding the same dictionary gives, in a fraction of the time.
    """
    layout = LAYOUTS[payload[:1]]
    _, stream, timestamp, *numbers = layout.struct.unpack_from(payload)
    lease = ""
    if layout.is_leased:
        lease = _lease_members(*numbers[-_OF_LEASE:])
        del numbers[-_OF_LEASE:]
    call_id, *own, texts = (
        payload[layout.struct.size :].decode().split(_SEPARATOR, 1 + len(layout.own))
    )
    said = _read(texts, layout)
    version = said.pricing_version
    if numbers[_COST] == _TO_BE_PRICED:
        # As `CusTokenUsage._make` would, at a third of its price.
        usage = tuple.__new__(CusTokenUsage, layout.counts((*numbers, 0, None)))
        numbers[_COST], version = _price(said, usage, timestamp)
    call_id = _quoted(call_id) if call_id else f'"{call_id_of(process_id, sequence)}"'
    members = [
        f'{{"call_id":{call_id},{said.members}"timestamp":"{iso_nanoseconds(timestamp)}"'
        f',"process_id":"{process_id}","sequence":{sequence}'
    ]
    if integration_id := said.integration_id or integration_id:
        members.append(f',"integration_id":{_quoted(integration_id)}')
    if version:
        members.append(f',"pricing_version":{_quoted(version)}')
    members += [
        member + _quoted(text) for member, text in zip(layout.own_members, own, strict=True) if text
    ]
    members += [
        f"{member}{number}"
        for member, absent, number in zip(layout.members, layout.absent, numbers, strict=True)
        if number != absent
    ]
    members.append(lease)
    members.append(',"stream":true}' if stream else "}")
    return "".join(members).encode()


def _lease_members(lease_id: bytes, cents: int, microcents: int, tokens: int) -> str:
    amounts = f'{{"cents":{cents},"microcents":{microcents},"tokens":{tokens}}}'
    return f',"lease_id":"{UUID(bytes=lease_id)}","reserved":{amounts}'


class _Words(NamedTuple):
    """What a record says in words: members of its JSON, each with a comma, and what they lead to."""

    members: str
    model: str
    service_tier: str | None
    integration_id: str
    pricing_version: str
    place: CusPlace


@lru_cache(maxsize=_MOST_JOINED)
def _read(texts: str, layout: CusPlainLayout) -> _Words:
    said = dict(zip(layout.texts, texts.split(_SEPARATOR), strict=True))
    integration_id, version = said.pop("integration_id"), said.pop("pricing_version")
    tags = said.pop("tags", "")
    members = [
        f'"{name}":{_quoted(text[: TEXT_LIMITS.get(name)])},'
        for name, text in said.items()
        if text or name == "model"
    ]
    if tags:
        members.append(f'"tags":[{",".join(map(_quoted, tags.split(_BETWEEN_TAGS)))}],')
    tier = said["service_tier"] or None
    place = CusPlace(said.get("provider") or None, said.get("region") or None)
    return _Words("".join(members), said["model"], tier, integration_id, version, place)


def _price(said: _Words, usage: CusTokenUsage, at: int) -> tuple[int, str]:
    """The cost of a call that was stored without one, and the version that says so."""
    try:
        priced = cost_of_call(said.model, usage, said.service_tier, None, at, place=said.place)
    except (ValueError, OverflowError, OSError):  # absurd: the server says what is wrong with it
        priced = None
    return (MISSING, "") if priced is None else priced
