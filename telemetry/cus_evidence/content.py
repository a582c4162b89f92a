"""What makes two reports of one call id the same fact (ruling E2).

The fields as sent that make the fact: integration, model, provider, tokens, cost,
timestamp, latency, outcome. Never sequence, process, pricing version, metadata, or what the
server adds.
"""

import hashlib
import uuid
from datetime import UTC, datetime
from operator import attrgetter

import msgspec

from aos_sdk.cus_fields import FIELDS
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.records import UsageRecord

# A change of the compared fields needs a new version: the ledger keeps hashes for ever.
HASH_VERSION = 1
# Compared by rules of their own, below.
_BY_RULE = ("integration_id", "provider", "cost_cents", "timestamp")
_COMPARED = tuple(field.name for field in FIELDS if field.compared and field.name not in _BY_RULE)
_SECOND = 1_000_000
_compared = attrgetter(*_COMPARED)


def content_hash(record: UsageRecord, integration_id: uuid.UUID) -> str:
    """32 hex digits: the version in the first two, then 120 bits of the fact's SHA-256."""
    fact = (
        integration_id,
        record.provider,
        record.cost_cents,
        _instant(record.timestamp),
        *_compared(record),
    )
    digest = hashlib.sha256(msgspec.json.encode(fact)).hexdigest()
    return f"{HASH_VERSION:02x}{digest[:30]}"


def differing_fields(
    record: UsageRecord, integration_id: uuid.UUID, stored: CusLLMUsage
) -> list[str]:
    """The fields in which a report contradicts the row stored under its call id.

    A report that leaves out what the server filled in at the time (provider, cost) does not
    contradict it.
    """
    differ = [name for name in _COMPARED if getattr(record, name) != getattr(stored, name)]
    if integration_id != stored.integration_id:
        differ.insert(0, "integration_id")
    for name in ("provider", "cost_cents"):
        sent = getattr(record, name)
        if sent is not None and sent != getattr(stored, name):
            differ.append(name)
    if not _same_time(record.timestamp, stored):
        differ.append("timestamp")
    return differ


def parse_timestamp(text: str | None) -> datetime | None:
    """The moment that an ISO 8601 text with a zone names, in UTC; None if it names none."""
    if text is None:
        return None
    try:
        moment = msgspec.convert(text, datetime)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _instant(text: str | None) -> str | int | None:
    # One moment has many spellings; only the moment is the fact.
    moment = parse_timestamp(text)
    return text if moment is None else _microseconds(moment)


def _microseconds(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _SECOND + since.microseconds


def _same_time(sent: str | None, stored: CusLLMUsage) -> bool:
    if "clock_skew" in stored.flags:
        return _instant(sent) == _instant(stored.sent_timestamp)
    return parse_timestamp(sent) == stored.occurred_at
