"""What makes two reports of one call id the same fact (rulings E2 and E2a).

The fields as sent that make the fact: integration, model as asked and as answered, provider, host,
tokens, turns, tier, units, cost, timestamp, latency, outcome. Never sequence, process, pricing
version, metadata, or what the server adds; nor a cost that a sender computed by a price table.
"""

import hashlib
import uuid
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter

import msgspec

from aos_sdk.cus_fields import FIELDS
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.usage_record import UsageRecord

# A change of the compared fields needs a new version: the ledger keeps hashes for ever, and a
# replay is compared by the version of the stored hash.
HASH_VERSION = 2
# Since this version, a cost that a price table gave is no fact of the call (ruling E2a).
_COMPUTED_COSTS_LEFT_OUT = 2
# Compared by rules of their own, below.
_BY_RULE = ("integration_id", "provider", "cost_cents", "timestamp", "usage_known")
_COMPARED = {
    version: tuple(
        field.name
        for field in FIELDS
        if field.compared_since and field.compared_since <= version and field.name not in _BY_RULE
    )
    for version in range(1, HASH_VERSION + 1)
}
_SECOND = 1_000_000
_compared = {version: attrgetter(*names) for version, names in _COMPARED.items()}


def content_hash(
    record: UsageRecord, integration_id: uuid.UUID, version: int = HASH_VERSION
) -> str:
    """32 hex digits: the version in the first two, then 120 bits of the fact's SHA-256."""
    fact = (
        integration_id,
        record.provider,
        _cost_fact(record, version),
        _instant(record.timestamp),
        *_compared[version](record),
        *(() if version == 1 else (record.usage_known,)),
    )
    digest = hashlib.sha256(msgspec.json.encode(fact)).hexdigest()
    return f"{version:02x}{digest[:30]}"


def hash_version(stored: str) -> int:
    """The version of a stored hash, or the newest that this release knows."""
    return min(int(stored[:2], 16), HASH_VERSION)


def differing_fields(
    record: UsageRecord,
    integration_id: uuid.UUID,
    stored: CusLLMUsage,
    version: int = HASH_VERSION,
) -> list[str]:
    """The fields in which a report contradicts the row stored under its call id.

    `version` is that of the row's hash: fields that it does not contain are not compared. A report
    that leaves out what the server filled in at the time (provider, cost) does not contradict it.
    """
    differ = [
        name
        for name in _COMPARED[version]
        if msgspec.to_builtins(getattr(record, name)) != getattr(stored, name)
    ]
    if integration_id != stored.integration_id:
        differ.insert(0, "integration_id")
    if record.provider not in (None, stored.provider):
        differ.append("provider")
    if _cost_fact(record, version) not in (None, stored.cost_cents):
        differ.append("cost_cents")
    if not _same_time(record.timestamp, stored):
        differ.append("timestamp")
    return differ


def _cost_fact(record: UsageRecord, version: int) -> int | None:
    is_computed = record.pricing_version is not None and version >= _COMPUTED_COSTS_LEFT_OUT
    return None if is_computed else record.cost_cents


# A record's time is asked for more than once, and a batch's rows are made one by one.
@lru_cache(maxsize=64)
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
