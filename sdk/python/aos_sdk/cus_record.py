"""The usage record: what is said about one call, and never what was said in it."""

import json
import operator
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from typing import Any, Final

from aos_sdk.cus_fields import FIELDS, CusMask, CusSent, names_sent
from aos_sdk.cus_guard import masked_message, plain_text
from aos_sdk.cus_tags import clean_tags
from aos_sdk.cus_wire import (
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    CusOperation,
    CusPolicyResult,
    json_may_hold_secret,
    mask_json,
    mask_name,
    mask_secrets,
)

_TEXTS: Final = [field for field in FIELDS if field.sent is CusSent.TEXT]
TEXT_LIMITS: Final = {field.name: field.max_length for field in _TEXTS if field.max_length}
_MASKED_BY: Final = {CusMask.NAME: mask_name, CusMask.SECRETS: mask_secrets}
# Model and provider stay as they are: prices go by them.
_MASKS: Final = {field.name: _MASKED_BY[field.mask] for field in _TEXTS if field.mask}
_OPTIONAL: Final = names_sent(CusSent.GIVEN)
_DETAILS: Final = names_sent(CusSent.SET)
_UNLESS_TRUE: Final = names_sent(CusSent.FALSE)


class _CallIds:
    """Ids that are unique everywhere: random bytes of the process, then a counter.

    A quarter of the price of a uuid4 each, and this is on the caller's clock.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.prefix = os.urandom(16).hex()
        self.next = count(1).__next__


_call_ids = _CallIds()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_call_ids.renew)


def generate_call_id() -> str:
    """A new id for a call, unique across threads, forks and hosts: the key to counting it once."""
    return f"{_call_ids.prefix}-{_call_ids.next():x}"


def call_id_of(process_id: str, sequence: int) -> str:
    """The id of a call that has no name, by where it is stored: the same for every reader."""
    return f"{process_id}-{sequence:x}"


@dataclass(slots=True)
class CusUsageRecord:
    """One provider call, as the server stores it. Hand it to `report` and change it no more.

    Every detail of tokens is a part of `tokens_in` or `tokens_out`. `cost_cents` is left None
    where the call cannot be priced; `timestamp` is the start of the call, as a datetime, ISO text
    or nanoseconds since the epoch; a datetime without a zone is local time. `billed_units` is what
    the provider bills otherwise than by tokens, e.g. `{"searches": 2}`.

    `model` is the model that answered; `model_requested` is the model as asked for, None if the
    names are equal. `host` is the host that was called, without port and path. `usage_known` is
    False for a call that ran and whose answer did not say what the call used: its zeros mean
    nothing (ruling M5b). `response_id` is the provider's id of the answer. `provider_key_hint` is
    the last 4 characters of the provider's key, never the key. `provider_cost_microcents` is what
    the answer says that the call cost, in 10⁻⁶ cent. `turns` are the model turns of the call, each
    a mapping of `model`, `service_tier` and kinds of tokens, which add up to the record's (M8a).
    `tags` are up to 5 texts `key=value`, of up to 64 characters each. `degraded` is True for a call
    whose limits could not be checked; `decision` is what the SDK decided without the server (F9).
    `lease_id` names the lease of which `reserved` was set aside for the call (F5a).
    """

    call_id: str
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost_cents: int | None = None
    latency_ms: int | None = None
    provider: str | None = None
    policy_result: CusPolicyResult | str = CusPolicyResult.ALLOWED
    error_code: str | None = None
    error_message: str | None = None
    session_id: str | None = None
    agent_id: str | None = None
    integration_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    timestamp: datetime | str | int = field(default_factory=time.time_ns)
    tokens_cached: int = 0
    tokens_cache_write: int = 0
    tokens_cache_write_1h: int = 0
    tokens_reasoning: int = 0
    tokens_audio_in: int = 0
    tokens_audio_out: int = 0
    tokens_image_in: int = 0
    tokens_total: int | None = None
    service_tier: str | None = None
    pricing_version: str | None = None
    operation: CusOperation | str | None = None
    stream: bool = False
    billed_units: Mapping[str, int] | None = None
    model_requested: str | None = None
    host: str | None = None
    region: str | None = None
    usage_known: bool = True
    response_id: str | None = None
    provider_request_id: str | None = None
    provider_project: str | None = None
    provider_key_hint: str | None = None
    provider_cost_microcents: int | None = None
    turns: Sequence[Mapping[str, Any]] | None = None
    end_user: str | None = None
    tags: Sequence[str] | None = None
    degraded: bool = False
    decision: Mapping[str, Any] | None = None
    lease_id: str | None = None
    reserved: Mapping[str, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as the wire has it: texts cut to their limits, without what looks like a key."""
        name: object = self.call_id  # a missing name must not become "None"
        data: dict[str, Any] = {
            "call_id": None if name is None else _said(name),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "policy_result": self.policy_result,
            "timestamp": iso_moment(self.timestamp),
        }
        data.update(self._texts())
        data.update(self._facts())
        if self.error_message is not None:
            data["error_message"] = masked_message(str(self.error_message))
        if self.metadata:
            data["metadata"] = _bounded(self.metadata)
        if self.tags and (tags := clean_tags(self.tags)):
            data["tags"] = tags
        return data

    def _texts(self) -> Iterator[tuple[str, str]]:
        for name, limit in TEXT_LIMITS.items():
            if (text := getattr(self, name)) is not None:
                said = _said(text)
                mask = _MASKS.get(name)
                yield name, plain_text(mask(said) if mask else said, limit)

    def _facts(self) -> Iterator[tuple[str, object]]:
        for name in _OPTIONAL:
            if (value := getattr(self, name)) is not None:
                yield name, value
        for name in _DETAILS:
            if value := getattr(self, name):
                yield name, value
        for name in _UNLESS_TRUE:
            if getattr(self, name) is False:
                yield name, False


def _said(text: object) -> str:
    # A text stays what it says: members of enumerations call themselves otherwise.
    return text if isinstance(text, str) else str(text)


def iso_moment(moment: datetime | str | int) -> str:
    """A moment as the wire has it: ISO 8601 with a zone."""
    if isinstance(moment, str):
        return moment
    if isinstance(moment, datetime):
        return moment.astimezone(UTC).isoformat()
    return iso_nanoseconds(moment)


def iso_nanoseconds(moment: int) -> str:
    """The same of nanoseconds since the epoch."""
    second, nanoseconds = divmod(moment, 1_000_000_000)
    return f"{_iso_second(second)}.{nanoseconds // 1_000:06d}+00:00"


@lru_cache(maxsize=64)
def _iso_second(second: int) -> str:
    # Busy programs report many calls of the same second, and a date takes long to write.
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()


def _whole_number(value: Any) -> int:
    """What a whole number of another package (NumPy's) is. Raises TypeError for all else."""
    try:
        return operator.index(value)
    except Exception as error:
        raise TypeError(type(value).__name__) from error


# Made once: `json.dumps` makes one for each call that has options.
_encode = json.JSONEncoder(
    separators=(",", ":"), allow_nan=False, ensure_ascii=False, default=_whole_number
).encode


def encoded_json(value: object) -> bytes:
    """Compact UTF-8. Raises ValueError for what is no JSON or no UTF-8, a lone surrogate too."""
    return _encode(value).encode()


def _bounded(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Metadata, its keys masked, if it is JSON within the limits, else a note in its place (E9)."""
    if _is_deeper(metadata, MAX_METADATA_DEPTH):
        return {"metadata_dropped": f"deeper than {MAX_METADATA_DEPTH} levels"}
    try:
        text = encoded_json(metadata)
        if len(text) <= MAX_METADATA_BYTES and json_may_hold_secret(text):
            metadata = mask_json(metadata)
            # A mask may be longer than what it hides.
            text = encoded_json(metadata)
    except (TypeError, ValueError):
        return {"metadata_dropped": "not JSON"}
    if len(text) > MAX_METADATA_BYTES:
        return {"metadata_dropped": f"larger than {MAX_METADATA_BYTES} bytes"}
    return metadata


def _is_deeper(value: object, levels: int) -> bool:
    # Stops at the limit, so that a thousand levels, or a circle, do not exhaust the host's stack.
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in value)
