"""The decision log's statements: append decisions, and count them (ruling F9)."""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from aos_sdk.cus_wire import CusEnforcementResult as Result
from aos_sdk.cus_wire import CusReasonCode as Code
from enforcement.cus_rules.facts import Facts
from enforcement.cus_rules.precedence import Decision
from enforcement.cus_rules.reasons import Reason
from telemetry.cus_ids import uuid7


class LogEntry(msgspec.Struct, kw_only=True):
    """A row of the decision log."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    call_id: str
    result: Result
    reason: str
    step: int | None
    degraded: bool
    decided_by: str
    facts: Facts | dict[str, Any]
    reasons: Sequence[Reason] | Sequence[Any]
    evaluated_at: datetime


_COLUMNS = {
    "id": "uuid",
    "tenant_id": "uuid",
    "integration_id": "uuid",
    "call_id": "text",
    "result": "text",
    "reason": "text",
    "step": "smallint",
    "degraded": "boolean",
    "decided_by": "text",
    "facts": "jsonb",
    "reasons": "jsonb",
    "evaluated_at": "timestamptz",
}
_RECORD = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
_NAMES = ", ".join(_COLUMNS)
_APPEND = f"""
PREPARE cus_append (json) AS
INSERT INTO cus_enforcement_decisions ({_NAMES})
SELECT {_NAMES} FROM json_to_recordset($1) AS entry({_RECORD})
"""  # noqa: S608  (the names are this module's own)

# The columns of `cus_decision_totals`, in the order in which `counts` gives them.
COUNTED = (*(result.value for result in Result), "degraded", "contention")
NO_COUNTS = (0,) * len(COUNTED)
_COUNT = f"""
PREPARE cus_count (uuid, uuid, {", ".join("bigint" for _ in COUNTED)}) AS
INSERT INTO cus_decision_totals AS total (tenant_id, integration_id, {", ".join(COUNTED)})
VALUES ($1, $2, {", ".join(f"${number + 3}" for number in range(len(COUNTED)))})
ON CONFLICT (tenant_id, integration_id) DO UPDATE SET
    {", ".join(f"{name} = total.{name} + excluded.{name}" for name in COUNTED)},
    updated_at = now()
"""  # noqa: S608

PREPARED = (_APPEND, _COUNT)


def entry(
    tenant_id: uuid.UUID, integration_id: uuid.UUID, facts: Facts, decision: Decision
) -> LogEntry:
    """The log's entry of a decision that the server made."""
    return LogEntry(
        id=uuid7(),
        tenant_id=tenant_id,
        integration_id=integration_id,
        call_id=facts.call_id,
        result=decision.result,
        reason=decision.reasons[0].code,
        step=decision.step,
        degraded=decision.degraded,
        decided_by="server",
        facts=facts,
        reasons=decision.reasons,
        evaluated_at=facts.evaluated_at,
    )


def encoded(entries: Iterable[LogEntry]) -> str:
    """The entries as one JSON text, which `cus_append` unpacks."""
    return msgspec.json.encode(list(entries)).decode()


def counts(decisions: Iterable[Decision]) -> list[int]:
    """Count decisions by result, degraded decisions and contention, in the order of `COUNTED`."""
    decisions = list(decisions)
    found = Counter(decision.result for decision in decisions)
    contended = sum(decision.reasons[0].code == Code.CONTENTION for decision in decisions)
    degraded = sum(decision.degraded for decision in decisions)
    return [*(found[result] for result in Result), degraded, contended]
