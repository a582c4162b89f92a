"""Copy decisions from calls' records to the log (ruling F9): those that SDKs took by themselves, and
those of a server without its evidence, as far as that server could not log them.

The statement that stores a call stores the record's `decision` in the call's row. `take_in` copies
the decision to the log under the row's id and time, so a second run adds nothing twice.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import connection, transaction

from aos_sdk.cus_wire import CusEnforcementResult as Result
from aos_sdk.cus_wire import CusPolicyResult
from aos_sdk.cus_wire import CusReasonCode as Code
from enforcement.cus_decisions.log import COUNTED
from enforcement.cus_decisions.models import CusDecisionTotals, CusEnforcementDecision
from telemetry.cus_evidence.content import parse_timestamp

# An ingest transaction lasts 30 seconds at most, so a run that looks this far back misses no row.
_OVERLAP = timedelta(minutes=10)
_AT_ONCE = 1_000
_LOCK_KEY = 0x6375735F7364  # "cus_sd"
_LAST = """
SELECT max(created_at) FROM cus_enforcement_decisions WHERE decided_by = 'sdk'
"""
_WAITING = """
SELECT usage.id, usage.tenant_id, usage.integration_id, usage.call_id, usage.policy_result,
    usage.degraded, usage.occurred_at, usage.created_at, usage.decision::text
FROM cus_llm_usage AS usage
WHERE usage.decision IS NOT NULL AND usage.created_at >= coalesce(%(since)s::timestamptz, '-infinity')
    AND NOT EXISTS (SELECT FROM cus_enforcement_decisions AS known
        WHERE known.tenant_id = usage.tenant_id AND known.created_at = usage.created_at
            AND known.id = usage.id)
    AND NOT (usage.decision->>'decided_by' IS NOT DISTINCT FROM 'server'
        AND EXISTS (SELECT FROM cus_enforcement_decisions AS logged
            WHERE logged.tenant_id = usage.tenant_id AND logged.call_id = usage.call_id
                AND logged.integration_id = usage.integration_id AND logged.decided_by = 'server'
                AND logged.degraded))
ORDER BY usage.created_at LIMIT %(most)s
"""
# The result by the record's `policy_result`, for a decision without a result (ruling E6).
_RESULTS = {
    CusPolicyResult.ALLOWED: Result.ALLOWED,
    CusPolicyResult.WARNED: Result.WARNED,
    CusPolicyResult.BLOCKED: Result.BLOCKED,
}


def take_in() -> int:
    """Append the decisions that came since the last run; return their number."""
    taken = 0
    while True:
        with transaction.atomic():
            rows = _waiting()
            decisions = [_decision(*row) for row in rows]
            CusEnforcementDecision.objects.bulk_create(decisions)
            _count(decisions)
        taken += len(rows)
        if len(rows) < _AT_ONCE:
            return taken


def _waiting() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        # Without the lock, two runs at once would both find the same decisions missing.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
        cursor.execute(_LAST)
        (last,) = cursor.fetchone()
        since = last - _OVERLAP if last else None
        cursor.execute(_WAITING, {"since": since, "most": _AT_ONCE})
        return list(cursor.fetchall())


def _decision(  # noqa: PLR0913  (a row's columns)
    usage_id: Any,
    tenant_id: Any,
    integration_id: Any,
    call_id: str,
    policy_result: str,
    degraded: bool,  # noqa: FBT001
    occurred_at: datetime,
    created_at: datetime,
    text: str,
) -> CusEnforcementDecision:
    sent: Mapping[str, Any] = msgspec.json.decode(text)
    reasons = sent.get("reasons")
    reasons = reasons if isinstance(reasons, list) else []
    first = reasons[0] if reasons and isinstance(reasons[0], dict) else {}
    result = sent.get("result")
    step = sent.get("step")
    stated = parse_timestamp(
        evaluated if isinstance(evaluated := sent.get("evaluated_at"), str) else None
    )
    return CusEnforcementDecision(
        id=usage_id,
        tenant_id=tenant_id,
        integration_id=integration_id,
        call_id=call_id,
        result=result
        if isinstance(result, str) and result in set(Result)
        else _RESULTS[CusPolicyResult(policy_result)],
        reason=str(first.get("code", ""))[:50],
        step=step if type(step) is int and 1 <= step <= 9 else None,
        degraded=degraded or sent.get("degraded") is True,
        # The SDK brings it, and `facts` say that a server decided; they lack what decides again.
        decided_by=CusEnforcementDecision.By.SDK,
        # An SDK that sends no `facts` sends the facts beside the verdict: keep the whole object.
        facts=sent.get("facts", sent),
        reasons=reasons,
        evaluated_at=stated or occurred_at,
        created_at=created_at,
    )


def _count(decisions: list[CusEnforcementDecision]) -> None:
    by_whom: dict[tuple[Any, Any], Counter[str]] = {}
    for decision in decisions:
        counter = by_whom.setdefault((decision.tenant_id, decision.integration_id), Counter())
        counter[decision.result] += 1
        counter["degraded"] += decision.degraded
        counter["contention"] += decision.reason == Code.CONTENTION
    names = COUNTED
    table = CusDecisionTotals._meta.db_table
    with connection.cursor() as cursor:
        for (tenant_id, integration_id), counter in sorted(by_whom.items()):
            cursor.execute(
                f"INSERT INTO {table} AS total (tenant_id, integration_id, {', '.join(names)})"  # noqa: S608
                f" VALUES (%s, %s, {', '.join(['%s'] * len(names))})"
                " ON CONFLICT (tenant_id, integration_id) DO UPDATE SET updated_at = now(), "
                + ", ".join(f"{name} = total.{name} + excluded.{name}" for name in names),
                [tenant_id, integration_id, *(counter[name] for name in names)],
            )
