"""A usage row as the statement that stores a batch takes it."""

import uuid
from datetime import datetime
from typing import Any

import msgspec

from telemetry.cus_evidence.usage_record import Reserved, Turn


class EvidenceRow(msgspec.Struct, gc=False, omit_defaults=True):
    """A usage row as it will be stored, with what the ledger needs to know of it.

    The statement reads a missing field as null, so most rows name a third of the columns.
    """

    id: uuid.UUID
    # Both as 32 hex digits: the ledger has them as UUIDs, which take longer to make and compare.
    call_hash: str
    content_hash: str
    integration_id: uuid.UUID
    provider: str
    cost_cents: int
    cost_microcents: int
    counted_cents: int
    pricing: str
    flags: list[str]
    occurred_at: datetime
    # From here to `decision` as the record has them.
    call_id: str
    model: str
    operation: str
    stream: bool
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    tokens_cache_write: int
    tokens_cache_write_1h: int
    tokens_reasoning: int
    tokens_audio_in: int
    tokens_audio_out: int
    tokens_image_in: int
    policy_result: str
    metadata: dict[str, Any]
    degraded: bool
    session_id: str | None = None
    agent_id: str | None = None
    model_requested: str | None = None
    host: str | None = None
    region: str | None = None
    tokens_total: int | None = None
    service_tier: str | None = None
    billed_units: dict[str, Any] | None = None
    turns: list[Turn] | None = None
    provider_cost_microcents: int | None = None
    latency_ms: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    response_id: str | None = None
    provider_request_id: str | None = None
    provider_project: str | None = None
    provider_key_hint: str | None = None
    end_user: str | None = None
    tags: list[str] | None = None
    process_id: str | None = None
    sequence: int | None = None
    lease_id: uuid.UUID | None = None
    decision: dict[str, Any] | None = None
    pricing_version: str | None = None
    price_id: uuid.UUID | None = None
    unpriced_units: list[str] | None = None
    reported_pricing_version: str | None = None
    provisional_cents: int | None = None
    provisional_microcents: int | None = None
    provisional_tokens: int | None = None
    sent_timestamp: str | None = None
    reserved: Reserved | None = None
