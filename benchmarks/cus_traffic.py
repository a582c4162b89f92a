"""The reported calls: records as the SDK writes them, and their rows."""

import json
import random
import secrets
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count

from aos_sdk.cus_cost import CusTokenUsage, price_call
from aos_sdk.cus_record import CusUsageRecord
from benchmarks.cus_databases import Sender
from telemetry.cus_evidence.evidence_row import EvidenceRow
from telemetry.cus_evidence.records import decode_record
from telemetry.cus_evidence.rows import RowBuilder
from telemetry.cus_ids import hash_call_id
from telemetry.cus_money.pricing import keep_prices

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "o3-mini")
_CALL_ID = "CALL-ID"
_VARIANTS = 64


@lru_cache(maxsize=1)
def templates() -> list[tuple[str, str]]:
    """Different records in JSON, each in two halves between which a call id belongs."""
    draw = random.Random(4)  # noqa: S311  (the same records in every run)
    made = [json.dumps(_record(draw), separators=(",", ":")) for _ in range(_VARIANTS)]
    halves = (text.partition(_CALL_ID) for text in made)
    return [(head, tail) for head, _, tail in halves]


def call_ids() -> Iterator[str]:
    """Call ids as one process of the SDK makes them."""
    prefix = secrets.token_hex(16)
    return (f"{prefix}-{number:x}" for number in count(1))


def row_batches(
    sender: Sender, ids: Iterator[str], *, size: int, number: int
) -> list[list[EvidenceRow]]:
    """Batches of rows of calls that were not reported before."""
    builder = RowBuilder(sender.principal, now=datetime.now(UTC))
    made = [[_row(builder, next(ids), index) for index in range(size)] for _ in range(number)]
    keep_prices(builder.used_prices)
    return made


def _row(builder: RowBuilder, call_id: str, index: int) -> EvidenceRow:
    halves: Sequence[tuple[str, str]] = templates()
    head, tail = halves[index % _VARIANTS]
    decoded = decode_record((head + call_id + tail).encode())
    return builder.row(decoded.record, decoded.flags, call_hash=hash_call_id(call_id))


def _record(draw: random.Random) -> dict[str, object]:
    model = draw.choice(MODELS)
    usage = CusTokenUsage(draw.randint(50, 8_000), draw.randint(1, 1_200))
    priced = price_call(model, usage)
    assert priced
    return CusUsageRecord(
        call_id=_CALL_ID,
        model=model,
        tokens_in=usage.tokens_in,
        tokens_out=usage.tokens_out,
        cost_cents=priced.cost_cents,
        pricing_version=priced.pricing_version,
        provider="openai",
        operation="chat",
        latency_ms=draw.randint(200, 20_000),
        session_id=str(uuid.UUID(int=draw.getrandbits(128))),
        agent_id=f"agent-{draw.randint(1, 20)}",
        metadata={"feature": draw.choice(("search", "summary", "reply"))},
    ).to_dict()
