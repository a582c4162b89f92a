"""Learn from stored calls, once a minute (ruling F3b).

Each run reads the evidence that came since the last one, whatever its amount and whatever has been
learned before: the last outputs of a model are kept, newest first. What decisions read changes
together with the integration's `config_version` (ruling F10).
"""

import time
import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction

from enforcement.cus_learning.models import CusLearningMark
from integrations.cus_lifecycle.service import raise_versions_of
from telemetry.cus_evidence.models import CusLLMUsage

LEARNED_CALLS: Final = 1_000
# With fewer outputs than this there is nothing to learn from: the bound holds.
LEAST_LEARNED: Final = 100
# A model that has not answered to a name for so long is not expected to.
ANSWERED_WITHIN: Final = timedelta(days=7)
# Names come from programs: an integration keeps so many, those that were used last (ruling C11).
MOST_NAMES: Final = 200
# An ingest transaction lasts thirty seconds at most, and its rows have the time of its beginning.
_SETTLED_AFTER: Final = timedelta(minutes=1)
_STEP: Final = timedelta(hours=1)
_LONG: Final = "SET LOCAL statement_timeout = '2min'; SET LOCAL jit = off"
_LOCK_KEY: Final = 0x6375735F6C65  # "cus_le"

# What ran, told its usage, and ended well: a broken call says nothing of how long answers are.
_RAN = """created_at >= %(since)s AND created_at < %(until)s AND policy_result <> 'blocked'
        AND error_code IS NULL AND pricing <> 'unmeasured' AND tokens_in + tokens_out > 0"""


def _learned(outputs: str) -> str:
    """SQL for the estimate by outputs: 1.25 times their 99.9th percentile; null if they are few."""
    count = f"cardinality({outputs})"
    return f"""CASE WHEN {count} >= {LEAST_LEARNED} THEN (
            SELECT (tokens::bigint * 5 + 3) / 4 FROM unnest({outputs}) AS tokens ORDER BY tokens
            OFFSET least({count} * 999 / 1000, {count} - 1) LIMIT 1) END"""  # noqa: S608  (numbers)


_ALL = f"(excluded.outputs || kept.outputs)[1:{LEARNED_CALLS}]"
# An estimate rises at once, and falls by a tenth or more: each change raises the version.
_IS_OTHER = f"""(kept.estimate_tokens IS NULL AND cardinality({_ALL}) >= {LEAST_LEARNED}
            OR {_learned(_ALL)} > kept.estimate_tokens
            OR {_learned(_ALL)} * 10 <= kept.estimate_tokens * 9)"""
_LEARN_OUTPUTS = f"""
WITH fresh AS (
    SELECT *, row_number() OVER (
        PARTITION BY tenant_id, integration_id, name, operation
        ORDER BY created_at DESC, id DESC) AS number
    FROM (SELECT *, coalesce(model_requested, model) AS name FROM cus_llm_usage WHERE {_RAN}) AS ran
), lessons AS (
    SELECT tenant_id, integration_id, name AS model, operation,
        array_agg(tokens_out ORDER BY number) AS outputs, max(created_at) AS last_call_at
    FROM fresh WHERE number <= {LEARNED_CALLS} GROUP BY 1, 2, 3, 4
), written AS (
    INSERT INTO cus_learned_outputs AS kept (tenant_id, integration_id, model, operation, outputs,
        estimate_tokens, changed_at, last_call_at)
    SELECT tenant_id, integration_id, model, operation, outputs, {_learned("outputs")},
        CASE WHEN cardinality(outputs) >= {LEAST_LEARNED} THEN %(until)s END, last_call_at
    FROM lessons ORDER BY 1, 2, 3, 4
    ON CONFLICT (tenant_id, integration_id, model, operation) DO UPDATE SET
        outputs = {_ALL}, last_call_at = excluded.last_call_at,
        estimate_tokens = CASE WHEN {_IS_OTHER} THEN {_learned(_ALL)}
            ELSE kept.estimate_tokens END,
        changed_at = CASE WHEN {_IS_OTHER} THEN %(until)s ELSE kept.changed_at END
    RETURNING integration_id, changed_at
)
SELECT DISTINCT written.integration_id FROM written
JOIN cus_integrations AS integration ON integration.id = written.integration_id
WHERE changed_at = %(until)s AND integration.estimate_basis = 'learned'
"""  # noqa: S608  (the names are this module's own)
_LEARN_NAMES = f"""
WITH seen AS (
    SELECT tenant_id, integration_id, model_requested AS name, model, max(created_at) AS at
    FROM cus_llm_usage WHERE {_RAN} AND model_requested <> model
    GROUP BY 1, 2, 3, 4
), written AS (
    INSERT INTO cus_answering_models AS kept
        (tenant_id, integration_id, name, model, since, last_answered_at)
    SELECT tenant_id, integration_id, name, model, %(until)s, at FROM seen ORDER BY 1, 2, 3, 4
    ON CONFLICT (tenant_id, integration_id, name, model) DO UPDATE
        SET last_answered_at = excluded.last_answered_at
        WHERE excluded.last_answered_at > kept.last_answered_at + interval '1 hour'
    RETURNING integration_id, since
)
SELECT DISTINCT integration_id FROM written WHERE since = %(until)s
"""  # noqa: S608  (as above)
_FORGET_NAMES = """
DELETE FROM cus_answering_models WHERE last_answered_at < %(oldest)s RETURNING integration_id
"""


def _forget_most(table: str, keys: str, last: str) -> str:
    """Deletes all but the last `MOST_NAMES` rows of each integration that has more."""
    return f"""
WITH many AS (
    SELECT tenant_id, integration_id FROM {table} GROUP BY 1, 2 HAVING count(*) > {MOST_NAMES}
), placed AS (
    SELECT tenant_id, integration_id, {keys}, row_number() OVER (
        PARTITION BY tenant_id, integration_id ORDER BY {last} DESC, {keys}) AS place
    FROM {table} JOIN many USING (tenant_id, integration_id)
)
DELETE FROM {table} AS kept USING placed WHERE placed.place > {MOST_NAMES}
    AND (kept.tenant_id, kept.integration_id) = (placed.tenant_id, placed.integration_id)
    AND {" AND ".join(f"kept.{key} = placed.{key}" for key in keys.split(", "))}
RETURNING kept.integration_id
"""  # noqa: S608  (as above)


_FORGET_MOST = (
    _forget_most("cus_learned_outputs", "model, operation", "last_call_at"),
    _forget_most("cus_answering_models", "name, model", "last_answered_at"),
)


def learn(now: datetime, *, within: timedelta) -> datetime:
    """Learn from the evidence that came until a minute before `now`; return how far that went.

    `within` bounds the run: the next one goes on. Two runs at once learn nothing twice.
    """
    end_by = time.monotonic() + within.total_seconds()
    until = now - _SETTLED_AFTER
    while (reached := _learn_a_step(now, until)) < until and time.monotonic() < end_by:
        pass
    return reached


@transaction.atomic
def _learn_a_step(now: datetime, until: datetime) -> datetime:
    """Learn from an hour with calls at most, in one transaction; return its end."""
    with connection.cursor() as cursor:
        cursor.execute(_LONG)
        # Two runs at once would otherwise both add the same outputs.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
    mark = CusLearningMark.objects.filter(id=CusLearningMark.ONLY).first()
    since = mark.learned_until if mark else now - ANSWERED_WITHIN
    if since >= until:
        return since
    until = _end_of_step(since, until)
    values = {"since": since, "until": until, "oldest": now - ANSWERED_WITHIN}
    changed: set[uuid.UUID] = set()
    for statement in (_LEARN_OUTPUTS, _LEARN_NAMES, _FORGET_NAMES, *_FORGET_MOST):
        changed |= _integrations(statement, values)
    raise_versions_of(changed)
    CusLearningMark.objects.update_or_create(
        id=CusLearningMark.ONLY, defaults={"learned_until": until}
    )
    return until


def _end_of_step(since: datetime, until: datetime) -> datetime:
    """An hour after `since`, or later if no call came until then; `until` at the latest.

    A first run has seven days to read, mostly without any call: it passes them at a few looks.
    """
    end, more = since + _STEP, _STEP
    while end < until and not _calls_came(since, min(end + more, until)):
        end, more = end + more, 2 * more
    return min(end, until)


def _calls_came(since: datetime, until: datetime) -> bool:
    return CusLLMUsage.objects.filter(created_at__gte=since, created_at__lt=until).exists()


def _integrations(statement: str, values: dict[str, Any]) -> set[uuid.UUID]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return {integration_id for (integration_id,) in cursor.fetchall()}
