"""Tell people of the first refusal of a reason, or of a limit, in its window.

By the counts of decisions by reason, which the log's own trigger keeps: whoever appends a decision,
however late, raises one. `CusSeenRefusals` holds the counts of the last run.
"""

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from django.db import connection, transaction

from aos_sdk.cus_wire import CusReasonCode as Code
from enforcement.cus_decisions.models import CusSeenRefusals
from integrations.cus_lifecycle.limits import LIMITS, Window
from integrations.cus_lifecycle.scope_words import scope_word
from integrations.cus_notifications.announcing import Notice, announce, started
from integrations.cus_notifications.kinds import Kind

REFUSALS: Final = ("throttled", "blocked", "hard_blocked")
# Told in another way, or of this server or of a program's own repetition.
_NOT_TOLD: Final = (
    Code.STOPPED,
    Code.CREDENTIALS_INVALID,
    Code.CONTENTION,
    Code.EVIDENCE_UNAVAILABLE,
    Code.STATE_UNKNOWN,
    Code.CALL_RECORDED,
    Code.INTEGRATION_NOT_FOUND,
    # A word of an SDK that this server does not know.
    "other",
)
# So many of a reason's new decisions are looked at; a limit that is among none is told of in a later
# run, as long as it refuses.
_AT_MOST: Final = 500
# Decisions that come later than this with their calls' records are not news.
_NEWS: Final = timedelta(days=1)
_WINDOWS: Final = {limit.kind: limit.window for limit in LIMITS}
_LABELS: Final = {limit.kind: limit.label.removesuffix(" (cents)") for limit in LIMITS}

_RISEN = """
SELECT total.tenant_id, total.integration_id, integration.name, total.result, total.reason,
    total.decisions, total.decisions - coalesce(seen.decisions, 0)
FROM cus_decision_reasons AS total
JOIN cus_integrations AS integration ON integration.id = total.integration_id
    AND integration.tenant_id = total.tenant_id AND integration.deleted_at IS NULL
LEFT JOIN cus_seen_refusals AS seen
    ON (seen.tenant_id, seen.integration_id, seen.result, seen.reason)
        = (total.tenant_id, total.integration_id, total.result, total.reason)
WHERE total.result = ANY(%(results)s) AND total.reason <> ALL(%(not_told)s)
    AND total.decisions > coalesce(seen.decisions, 0)
"""
_NEWEST = """
SELECT id, created_at, (reasons->0)::text FROM cus_enforcement_decisions
WHERE tenant_id = %s AND integration_id = %s AND result = %s AND reason = %s AND created_at > %s
ORDER BY created_at DESC LIMIT %s
"""


class _Risen(NamedTuple):
    """A reason by which an integration's calls were refused since the last run."""

    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    integration: str
    result: str
    reason: str
    decisions: int
    new: int


class _Refusal(NamedTuple):
    """The limit that refused a call, or its reason, and the window in which it is told once."""

    decision_id: uuid.UUID
    subject: str
    value: str
    scope: str | None
    window: Window

    @property
    def key(self) -> tuple[str, str]:
        return self.subject, self.value


def watch_refusals(now: datetime) -> int:
    """Announce what has begun to refuse calls; return the number of new events."""
    return sum(_announce(risen, now) for risen in _risen())


def _risen() -> list[_Risen]:
    with connection.cursor() as cursor:
        cursor.execute(
            _RISEN, {"results": list(REFUSALS), "not_told": [str(code) for code in _NOT_TOLD]}
        )
        return [_Risen(*row) for row in cursor.fetchall()]


@transaction.atomic
def _announce(risen: _Risen, now: datetime) -> int:
    """Announce one reason's refusals and note its count, together: a killed run is run again."""
    told = 0
    # In one order, so that two runs at once can't deadlock.
    for _, refusal in sorted(_refusals(risen, now).items()):
        told += announce(_notice(risen, refusal, now)) is not None
    CusSeenRefusals.objects.update_or_create(
        tenant_id=risen.tenant_id,
        integration_id=risen.integration_id,
        result=risen.result,
        reason=risen.reason,
        defaults={"decisions": risen.decisions},
    )
    return told


def _refusals(risen: _Risen, now: datetime) -> dict[tuple[str, str], _Refusal]:
    """What refused within its present window, each by its last decision."""
    found: dict[tuple[str, str], _Refusal] = {}
    for decision_id, created_at, reason in _newest(risen, now):
        refusal = _refusal(decision_id, risen.reason, reason)
        if created_at >= started(refusal.window, now):
            found.setdefault(refusal.key, refusal)
    return found


def _newest(risen: _Risen, now: datetime) -> Iterator[tuple[uuid.UUID, datetime, Any]]:
    since, most = now - _NEWS, min(risen.new, _AT_MOST)
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, [*risen[:2], risen.result, risen.reason, since, most])
        for decision_id, created_at, reason in cursor.fetchall():
            yield decision_id, created_at, msgspec.json.decode(reason) if reason else None


def _refusal(decision_id: uuid.UUID, code: str, stored: Any) -> _Refusal:
    """What a decision's first reason names. An SDK's reason may hold anything."""
    reason: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
    limit_type = reason.get("limit_type")
    own = limit_type if isinstance(limit_type, str) and limit_type in _WINDOWS else None
    scoped = _id(reason.get("limit_id"))
    window = _window(reason.get("window")) or _WINDOWS.get(own or "", Window.DAY)
    value = reason.get("scope_value")
    scope = reason.get("scope")
    return _Refusal(
        decision_id=decision_id,
        subject=f"{code}:{scoped or own or ''}",
        value=value[:100] if scoped and isinstance(value, str) else "",
        scope=scope[:20] if scoped and isinstance(scope, str) else None,
        window=window,
    )


def _id(text: object) -> str | None:
    try:
        return str(uuid.UUID(text)) if isinstance(text, str) else None
    except ValueError:
        return None


def _window(word: object) -> Window | None:
    return Window(word) if isinstance(word, str) and word in set(Window) else None


def _notice(risen: _Risen, refusal: _Refusal, now: datetime) -> Notice:
    code, _, limit = refusal.subject.partition(":")
    scope = scope_word(refusal.scope or "")
    what = _LABELS.get(limit) or " ".join(part for part in (scope, refusal.value) if part)
    because = f"{code.replace('_', ' ')}{f' ({what})' if what else ''}"
    how = "told to wait" if risen.result == "throttled" else "refused"
    return Notice(
        tenant_id=risen.tenant_id,
        integration_id=risen.integration_id,
        kind=Kind.FIRST_REFUSAL,
        subject=refusal.subject,
        value=refusal.value,
        window_start=started(refusal.window, now),
        summary=f"Calls of {risen.integration} are {how}: {because}",
        path=f"/console/decisions/{refusal.decision_id}",
        details={
            "decision_id": str(refusal.decision_id),
            "result": risen.result,
            "reason": code,
            "limit": limit or None,
            "scope": refusal.scope,
            "value": refusal.value,
            "window": refusal.window.value,
        },
    )
