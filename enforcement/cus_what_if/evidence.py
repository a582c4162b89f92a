"""The evidence of a simulation, row by row: what ran, what was refused, and what was revised.

Read on a connection of its own, in the decider's role, which can't read analytics, from one
snapshot of the database. A cursor of the server's sorts the rows and hands them over in portions, so
memory does not grow with the period.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from psycopg import sql

from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_what_if.replay import RATE_WINDOW, AdmittedBy, Event, PastCall, Revision
from integrations.cus_lifecycle.limits import month_of
from telemetry.cus_money.amounts import Amounts

_AT_ONCE = 2_000
# Sorting some million rows takes longer than a request's statement may.
_SETTINGS = (
    "-c jit=off -c work_mem=64MB -c statement_timeout=600s"
    " -c default_transaction_isolation=repeatable\\ read"
)
_CALL, _REFUSAL, _SETTLEMENT, _CORRECTION = range(4)
_CENTS = (
    "coalesce(usage.counted_cents, greatest(usage.cost_cents, ceil(usage.cost_microcents / 1e6)))"
)
# What budgets count of a call when its record comes; until it is settled, the provisional amounts.
_SPENT = f"""({_CENTS} + coalesce(usage.provisional_cents, 0))::bigint,
    usage.cost_microcents + coalesce(usage.provisional_microcents, 0),
    usage.tokens_in::bigint + usage.tokens_out + coalesce(usage.provisional_tokens, 0)"""
_OF_INTEGRATION = "tenant_id = %(tenant)s AND integration_id = %(integration)s"
_CAME = "created_at >= %(began)s AND created_at < %(until)s"
_REVISED_ROW = """JOIN cus_llm_usage AS usage ON usage.tenant_id = revision.tenant_id
        AND usage.created_at = revision.usage_created_at AND usage.id = revision.usage_id"""
# A call of a lease was admitted when it began, not when its lease was taken.
_DECIDED_AT = """CASE WHEN usage.admitted_at IS NOT NULL AND usage.lease_id IS NULL
        THEN usage.admitted_at
        ELSE greatest(least(usage.occurred_at, usage.created_at), usage.admitted_at) END"""
_ADMITTED_BY = f"""CASE WHEN usage.degraded THEN '{AdmittedBy.DEGRADED}'
        WHEN usage.lease_id IS NOT NULL THEN '{AdmittedBy.LEASE}'
        WHEN usage.admitted_at IS NOT NULL THEN '{AdmittedBy.CHECK}'
        ELSE '{AdmittedBy.NOTHING}' END"""
# Refusals by limits alone: the server's own, in the form that it decides by.
_BY_LIMITS = """decided_by = 'server' AND result IN ('throttled', 'blocked')
        AND reason <> 'contention'"""
_EVENTS = f"""
WITH settled AS MATERIALIZED (
    SELECT * FROM cus_usage_settlements WHERE {_OF_INTEGRATION} AND {_CAME}
), corrected AS MATERIALIZED (
    SELECT * FROM cus_cost_adjustments WHERE {_OF_INTEGRATION} AND {_CAME}
)
SELECT {_CALL} AS kind, {_DECIDED_AT} AS at, usage.id, usage.call_id,
    coalesce(usage.model_requested, usage.model), usage.created_at, {_SPENT},
    usage.estimate_cents, usage.estimate_microcents, usage.estimate_tokens,
    usage.pricing <> 'unknown', true, usage.policy_result, {_ADMITTED_BY},
    usage.id IN (SELECT usage_id FROM settled UNION ALL SELECT usage_id FROM corrected)
FROM cus_llm_usage AS usage
WHERE {_OF_INTEGRATION} AND {_CAME} AND usage.policy_result <> 'blocked'
UNION ALL
SELECT {_REFUSAL}, evaluated_at, id, call_id, facts->>'model', NULL, 0, 0, 0,
    (facts->'estimate'->>0)::bigint, (facts->'estimate'->>1)::bigint,
    (facts->'estimate'->>2)::bigint, (facts->>'priced')::boolean,
    (facts->>'tokens_known')::boolean, result, '{AdmittedBy.CHECK}', false
FROM cus_enforcement_decisions
WHERE {_OF_INTEGRATION} AND {_CAME} AND {_BY_LIMITS}
UNION ALL
SELECT {_SETTLEMENT}, revision.created_at, revision.usage_id, NULL, NULL, usage.created_at,
    revision.counted_cents, revision.cost_microcents,
    revision.tokens_in::bigint + revision.tokens_out,
    usage.provisional_cents, usage.provisional_microcents, usage.provisional_tokens,
    true, true, NULL, NULL, true
FROM settled AS revision {_REVISED_ROW}
UNION ALL
SELECT {_CORRECTION}, revision.created_at, revision.usage_id, NULL, NULL, usage.created_at,
    0, revision.difference_microcents, 0, 0, 0, 0, true, true, NULL, NULL, true
FROM corrected AS revision {_REVISED_ROW}
ORDER BY at
"""  # noqa: S608  (the names are this module's own)
# What the month had used before the first event, as `telemetry.cus_money.amounts.USED` counts it.
_USED_BEFORE = f"""
SELECT coalesce(sum(cents), 0)::bigint, coalesce(sum(microcents), 0)::bigint,
    coalesce(sum(tokens), 0)::bigint
FROM (
    SELECT {_SPENT} FROM cus_llm_usage AS usage
    WHERE {_OF_INTEGRATION} AND created_at >= %(month)s AND created_at < %(began)s
    UNION ALL
    SELECT counted_cents, cost_microcents, tokens_in::bigint + tokens_out
    FROM cus_usage_settlements
    WHERE {_OF_INTEGRATION} AND created_at >= %(month)s AND created_at < %(began)s
    UNION ALL
    SELECT -usage.provisional_cents, -usage.provisional_microcents, -usage.provisional_tokens
    FROM cus_usage_settlements AS revision {_REVISED_ROW}
    WHERE revision.{_OF_INTEGRATION.replace("AND ", "AND revision.")}
        AND revision.usage_created_at >= %(month)s AND revision.created_at < %(began)s
    UNION ALL
    SELECT 0, difference_microcents, 0 FROM cus_cost_adjustments
    WHERE {_OF_INTEGRATION} AND usage_created_at >= %(month)s AND created_at < %(began)s
) AS counted(cents, microcents, tokens)
"""  # noqa: S608  (as above)
_ROWS = f"""
SELECT (SELECT count(*) FROM cus_llm_usage WHERE {_OF_INTEGRATION} AND {_CAME})
    + (SELECT count(*) FROM cus_enforcement_decisions
        WHERE {_OF_INTEGRATION} AND {_CAME} AND {_BY_LIMITS})
"""  # noqa: S608  (as above)
# Refusals that limits did not cause, or that an SDK made of facts of its own.
_NOT_JUDGED = f"""
SELECT CASE WHEN reason = 'contention' THEN 'contention' WHEN decided_by = 'sdk' THEN 'by_sdk'
    ELSE result END, count(*)
FROM cus_enforcement_decisions
WHERE {_OF_INTEGRATION} AND {_CAME} AND result IN ('throttled', 'blocked', 'hard_blocked')
    AND NOT ({_BY_LIMITS})
GROUP BY 1
"""  # noqa: S608  (as above)


class Evidence:
    """One integration's evidence: of calls decided from `since` on, received before `until`."""

    def __init__(
        self,
        connection: "psycopg.Connection[tuple[Any, ...]]",
        *,
        tenant_id: uuid.UUID,
        integration_id: uuid.UUID,
        since: datetime,
        until: datetime,
    ) -> None:
        self._connection = connection
        # What was admitted just before counts for the rate of the first calls.
        self.began = since - RATE_WINDOW
        month, _ = month_of(self.began)
        self._values = {
            "tenant": tenant_id,
            "integration": integration_id,
            "began": self.began,
            "until": until,
            "month": month,
        }

    def count(self) -> int:
        """How many calls and refusals there are."""
        return int(self._rows(_ROWS)[0][0])

    def used_before(self) -> Amounts:
        """What the month had used when the first event came."""
        return Amounts(*self._rows(_USED_BEFORE)[0])

    def not_judged(self) -> dict[str, int]:
        """Refusals that say nothing about limits, by what caused them."""
        return dict(self._rows(_NOT_JUDGED))

    def events(self) -> Iterator[Event]:
        """All that happened, in order."""
        with self._connection.cursor(name="cus_simulation", binary=True) as cursor:
            cursor.itersize = _AT_ONCE
            cursor.execute(_EVENTS, self._values)
            for row in cursor:
                yield _event(_Row._make(row))

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor(binary=True) as cursor:
            return cursor.execute(statement, self._values).fetchall()


@contextmanager
def reading() -> "Iterator[psycopg.Connection[tuple[Any, ...]]]":
    """A connection for one simulation, in the decider's role. Raises Django's OperationalError."""
    parameters = dict(connections[DEFAULT_DB_ALIAS].get_connection_params())
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    parameters |= {
        "options": f"{parameters.get('options', '')} {_SETTINGS}",
        "application_name": "aos-simulation",
    }
    role = sql.Identifier(settings.CUS_DECIDER_ROLE)
    try:
        with psycopg.connect(**parameters) as connection:
            connection.read_only = True
            connection.execute(sql.SQL("SET ROLE {}").format(role))
            yield connection
    except psycopg.Error as error:
        # Django's own class, so that callers handle a single class for an absent database.
        raise OperationalError(type(error).__name__) from error


class _Row(NamedTuple):
    kind: int
    at: datetime
    id: uuid.UUID
    call_id: str
    model: str | None
    came_at: datetime | None
    cents: int
    microcents: int
    tokens: int
    other_cents: int | None
    other_microcents: int | None
    other_tokens: int | None
    priced: bool
    tokens_known: bool
    result: str
    admitted_by: str
    is_revised: bool


_RESULTS: Final = {result.value: result for result in Result}
_BY: Final = {by.value: by for by in AdmittedBy}


def _event(row: _Row) -> Event:
    counted = Amounts(row.cents, row.microcents, row.tokens)
    if row.kind > _REFUSAL:
        return _revision(row, counted)
    estimate = None
    if row.other_cents is not None:
        estimate = Amounts(row.other_cents, row.other_microcents or 0, row.other_tokens or 0)
    return PastCall(
        row.id,
        row.call_id,
        row.model,
        row.at,
        row.came_at,
        counted,
        estimate,
        row.priced,
        row.tokens_known,
        _RESULTS[row.result],
        _BY[row.admitted_by],
        row.is_revised,
    )


def _revision(row: _Row, adds: Amounts) -> Revision:
    takes = Amounts(row.other_cents or 0, row.other_microcents or 0, row.other_tokens or 0)
    assert row.came_at is not None
    return Revision(row.at, row.id, row.came_at, adds, takes, of_month=row.kind == _CORRECTION)
