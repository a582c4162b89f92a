"""Usage records as bytes, and back: quick for the usual record, complete for every other.

The usual record is a struct of its numbers and its texts joined by a separator: a microsecond on the
caller's clock. A governed call becomes one without the detour of a record object, and is priced and
named when it is read. Whatever does not fit that form (metadata, errors with a message, numbers that
are none) is stored as the JSON that would be sent, already cut and masked, so that no secret ever
reaches the disk.

The first byte of a payload names its kind: JSON, or one layout of the struct. A layout never changes
once it was released, because rings of older releases wait on disks. To store a further number or text:
add a layout with a kind of its own, keep the earlier ones to read, and raise the ring's `VERSION`.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from struct import Struct
from struct import error as StructError
from typing import Any, Final, NamedTuple, TypeAlias

from aos_sdk.cus_cost import CusTokenUsage, cost_of_call
from aos_sdk.cus_delivery.ended_call import NO_USAGE, UNKNOWN_MODEL, CusEndedCall
from aos_sdk.cus_fields import FIELDS, TOKEN_NAMES, CusFieldType
from aos_sdk.cus_record import (
    TEXT_LIMITS,
    CusUsageRecord,
    call_id_of,
    clean_tags,
    encoded_json,
    iso_moment,
)
from aos_sdk.cus_wire import KEY_SECRET_PREFIX, mask_name, mask_secrets

_MISSING: Final = -1
_TO_BE_PRICED: Final = -2  # as a cost
_COST: Final = 0  # its place among the numbers of every layout
# What a record that lacks the number has in its place. The server takes a missing detail for 0.
_ABSENT: Final = {
    field.name: _MISSING if field.nullable else 0
    for field in FIELDS
    if field.type is CusFieldType.COUNT and not field.required
}


class CusPlainLayout:
    """How a usual record lies in its bytes, by the names of the record's fields.

    First a struct: kind, stream, timestamp in nanoseconds, cost, latency, the kinds of tokens, their
    total. Then texts, each after a separator but the first, which is the call id. Texts that differ
    from call to call come first (`own`), then those that most calls of a program share (`texts`).

    `encode_plain` and `encode_call` name each value once more, because a getter made of these names
    takes half as long again, on the caller's clock. A test holds their order and this one together.
    """

    def __init__(
        self,
        kind: int,
        *,
        since: int,
        tokens: tuple[str, ...],
        texts: tuple[str, ...],
        own: tuple[str, ...] = (),
    ) -> None:
        """`since` is the first version of a ring that may hold such payloads."""
        self.prefix = bytes((kind,))
        self.since = since
        self.tokens = tokens
        self.own = own
        self.texts = texts
        self.own_members = [(f'"{name}":', TEXT_LIMITS.get(name)) for name in own]
        self.numbers = ("cost_cents", "latency_ms", *tokens, "tokens_total")
        self.struct = Struct(f"<B?q{len(self.numbers)}i")
        # The text of each number's member, and which value says that there is none.
        self.members = [f',"{name}":' for name in self.numbers]
        self.absent = [_ABSENT.get(name) for name in self.numbers]
        # Picks the counts that a price depends on out of the numbers, followed by 0 and None: 0 for
        # a kind that the layout lacks, None for the total.
        places = {name: place for place, name in enumerate((*self.numbers, ""))}
        self.counts = itemgetter(*(places.get(kind, places[""]) for kind in TOKEN_NAMES), -1)


# Spelt out, not taken from `TOKEN_NAMES`: a kind that is added there is not in released payloads.
_TOKENS: Final = (
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_cache_write",
    "tokens_cache_write_1h",
    "tokens_reasoning",
    "tokens_audio_in",
    "tokens_audio_out",
    "tokens_image_in",
)
_TEXTS: Final = (
    "model",
    "provider",
    "policy_result",
    "error_code",
    "session_id",
    "agent_id",
    "service_tier",
    "operation",
    "integration_id",
    "pricing_version",
)
_OF_0_1_0: Final = CusPlainLayout(1, since=1, tokens=_TOKENS, texts=_TEXTS)
_LAYOUT: Final = CusPlainLayout(
    3,
    since=2,
    tokens=_TOKENS,
    own=("response_id", "provider_request_id"),
    texts=(
        *_TEXTS,
        "model_requested",
        "host",
        "region",
        "provider_project",
        "provider_key_hint",
        "end_user",
        "tags",
    ),
)
# All that were ever released, by the first byte of their payloads; records are stored as `_LAYOUT`.
LAYOUTS: Final = {layout.prefix: layout for layout in (_OF_0_1_0, _LAYOUT)}
_JSON_PREFIX: Final = b"\2"
_KIND: Final = _LAYOUT.prefix[0]
_pack: Final = _LAYOUT.struct.pack
_OWN_SEPARATORS: Final = len(_LAYOUT.own)  # the call id is before the first
# No key or name of anybody's holds it; a text that does travels as JSON.
_SEPARATOR: Final = "\x1f"
_BETWEEN_TAGS: Final = "\x1e"
# As `json` writes a text, without asking what it is.
_quoted: Final = json.encoder.encode_basestring
_UNFIT: Final = (TypeError, ValueError, AttributeError, IndexError, StructError)

# What most calls of a program say in words, they all say: joined once, kept as long as it is little.
_Said: TypeAlias = tuple[str | Sequence[str] | None, ...]
_joined: dict[_Said, bytes] = {}
_MOST_JOINED: Final = 512
# Longer ones go the long way, and are cut there: they would take the room of other records.
_LONGEST_JOINED: Final = 1_024


def encode_any(record: CusUsageRecord) -> bytes:
    """The bytes of any record. Raises what its values raise if no JSON can hold it."""
    return _JSON_PREFIX + encoded_json(record.to_dict())


def encode_plain(r: CusUsageRecord) -> bytes:
    """The bytes of a usual record; none at all for any other, which `encode_any` is for."""
    try:
        if (
            r.metadata is not None or r.error_message is not None or r.billed_units is not None
            or r.turns is not None or r.provider_cost_microcents is not None or not r.usage_known
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
            _MISSING if cost is None else cost, _MISSING if latency is None else latency,
            r.tokens_in, r.tokens_out, r.tokens_cached, r.tokens_cache_write,
            r.tokens_cache_write_1h, r.tokens_reasoning, r.tokens_audio_in, r.tokens_audio_out,
            r.tokens_image_in, _MISSING if total is None else total,
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
        or (c.usage is None and not c.usage_known)
    ):  # fmt: skip
        return b""
    cost, latency, usage = c.cost_cents, c.latency_ms, c.usage
    try:
        # Negative ones are the server's to refuse, and must not pass for what they stand for here.
        if (cost is not None and cost < 0) or (latency is not None and latency < 0):
            return b""
        if cost is None:
            cost = _TO_BE_PRICED if usage is not None or c.wants_price else _MISSING
        u = NO_USAGE if usage is None else usage
        total = u.tokens_total
        if total is None:
            total = _MISSING
        elif total < 0:
            return b""
        origin = c.origin  # not unpacked: that takes memory for an iterator
        said = (
            c.model or UNKNOWN_MODEL, c.provider, c.policy_result, c.error_code, c.session_id,
            c.agent_id, c.service_tier, c.operation, None, None, c.model_requested,
            origin.host, origin.region, origin.provider_project, origin.provider_key_hint,
            c.end_user, c.tags,
        )  # fmt: skip
        numbers = _pack(
            _KIND, c.stream, c.started_at, cost, _MISSING if latency is None else latency,
            u.tokens_in, u.tokens_out, u.tokens_cached, u.tokens_cache_write,
            u.tokens_cache_write_1h, u.tokens_reasoning, u.tokens_audio_in, u.tokens_audio_out,
            u.tokens_image_in, total,
        )  # fmt: skip
        call_id = "" if c.call_id is None else c.call_id
        own = _own(call_id, c.response_id, c.provider_request_id)
        return b"".join((numbers, own, _joined.get(said) or _join(said)))
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
    if text.count(_SEPARATOR) != _OWN_SEPARATORS or len(text) > _LONGEST_JOINED:
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
    call_id, *own, texts = (
        payload[layout.struct.size :].decode().split(_SEPARATOR, 1 + len(layout.own))
    )
    said = _read(texts, layout)
    version = said.pricing_version
    if numbers[_COST] == _TO_BE_PRICED:
        counts = layout.counts((*numbers, 0, None))
        numbers[_COST], version = _price(said, CusTokenUsage._make(counts), timestamp)
    call_id = _quoted(call_id) if call_id else f'"{call_id_of(process_id, sequence)}"'
    members = (
        f'{{"call_id":{call_id},{said.members}"timestamp":"{iso_moment(timestamp)}"'
        f',"process_id":"{process_id}","sequence":{sequence}'
    )
    if integration_id := said.integration_id or integration_id:
        members += f',"integration_id":{_quoted(integration_id)}'
    if version:
        members += f',"pricing_version":{_quoted(version)}'
    for (member, limit), text in zip(layout.own_members, own, strict=True):
        if text:
            members += f",{member}{_quoted(text[:limit])}"
    for member, absent, number in zip(layout.members, layout.absent, numbers, strict=True):
        if number != absent:
            members += f"{member}{number}"
    return f'{members},"stream":true}}'.encode() if stream else f"{members}}}".encode()


class _Words(NamedTuple):
    """What a record says in words: members of its JSON, each with a comma, and what they lead to."""

    members: str
    model: str
    service_tier: str | None
    integration_id: str
    pricing_version: str


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
    return _Words("".join(members), said["model"], tier, integration_id, version)


def _price(said: _Words, usage: CusTokenUsage, at: int) -> tuple[int, str]:
    """The cost of a call that was stored without one, and the version that says so."""
    try:
        priced = cost_of_call(said.model, usage, said.service_tier, None, at)
    except (ValueError, OverflowError, OSError):  # absurd: the server says what is wrong with it
        priced = None
    return (_MISSING, "") if priced is None else priced
