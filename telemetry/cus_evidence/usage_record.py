"""A usage record as it comes over the wire, as types that msgspec checks."""

import uuid
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aos_sdk import cus_wire as wire

Count = Annotated[int, Meta(ge=0, le=wire.INT32_MAX)]
CallId = Annotated[str, Meta(pattern=r"^[!-~]{1,100}\Z")]
ModelName = Annotated[str, Meta(pattern=r"^[^\x00\ud800-\udfff]{1,100}\Z")]
Text50 = Annotated[str, Meta(max_length=50)]
Text100 = Annotated[str, Meta(max_length=100)]
Text1000 = Annotated[str, Meta(max_length=wire.MAX_ERROR_MESSAGE_LENGTH)]
Text200 = Annotated[str, Meta(max_length=wire.MAX_RESPONSE_ID_LENGTH)]
# No path, no scheme, no user and password: nothing in which a secret could stand (ruling M5a).
Host = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9_.:\[\]-]{{1,{wire.MAX_HOST_LENGTH}}}\Z")]
KeyHint = Annotated[str, Meta(max_length=wire.MAX_KEY_HINT_LENGTH)]
StorableText50 = Annotated[str, Meta(pattern=r"^[^\x00\ud800-\udfff]{0,50}\Z")]
Tag = Annotated[
    str,
    Meta(
        pattern=r"^[^=\x00\ud800-\udfff]+=[^\x00\ud800-\udfff]*\Z", max_length=wire.MAX_TAG_LENGTH
    ),
]
Tags = Annotated[list[Tag], Meta(max_length=wire.MAX_TAGS)]
BigCount = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Reserved(msgspec.Struct):
    """What a leased call's holder had set aside for it; lowers the lease (ruling F5a)."""

    cents: BigCount = 0
    microcents: BigCount = 0
    tokens: BigCount = 0


class TokenParts(msgspec.Struct, gc=False, kw_only=True):
    """The kinds of tokens that are parts of `tokens_in` or `tokens_out` (ruling M4)."""

    tokens_cached: Count = 0
    tokens_cache_write: Count = 0
    tokens_cache_write_1h: Count = 0
    tokens_reasoning: Count = 0
    tokens_audio_in: Count = 0
    tokens_audio_out: Count = 0
    tokens_image_in: Count = 0


class Turn(TokenParts, gc=False, omit_defaults=True):
    """One model turn of a call; an inner model's has a `model` of its own (ruling M8a)."""

    model: ModelName | None = None
    service_tier: StorableText50 | None = None
    tokens_in: Count = 0
    tokens_out: Count = 0


Turns = Annotated[list[Turn], Meta(max_length=wire.MAX_TURNS)]


# No garbage collector needs to look at what holds no cycle: a batch makes thousands of these.
class UsageRecord(TokenParts, gc=False):
    """One call as its program reported it (§4.3). Tokens are counts, cost is in cents."""

    call_id: CallId
    model: ModelName
    tokens_in: Count
    tokens_out: Count
    integration_id: uuid.UUID | None = None
    cost_cents: Count | None = None
    tokens_total: Count | None = None
    # Up to here, and of the tokens' parts, a bad value refuses the record; from here on it is cut or
    # dropped.
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
    model_requested: Text100 | None = None
    host: Host | None = None
    region: Text50 | None = None
    usage_known: bool = True
    response_id: Text200 | None = None
    provider_request_id: Text200 | None = None
    provider_project: Text100 | None = None
    provider_key_hint: KeyHint | None = None
    provider_cost_microcents: BigCount | None = None
    turns: Turns | None = None
    end_user: Text100 | None = None
    tags: Tags | None = None
    process_id: Text100 | None = None
    sequence: BigCount | None = None
    lease_id: uuid.UUID | None = None
    reserved: Reserved | None = None
    degraded: bool = False
    decision: dict[str, Any] | None = None
