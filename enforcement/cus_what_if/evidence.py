"""The evidence of a simulation, row by row: what ran, what was refused, and what was revised.

Read on a connection of its own, in the decider's role, which can't read analytics, from one
snapshot of the database. A cursor of the server's sorts the rows and hands them over in portions, so
memory does not grow with the period.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from psycopg import sql

from aos_sdk.cus_limit_scopes import OF_ALL_CALLS, CusCallNames, CusLimitScope
from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_what_if.at_scopes import Past
from enforcement.cus_what_if.past_usage import (
    ADMITTED_BEFORE,
    CAME,
    OF_INTEGRATION,
    REVISED_ROW,
    SPENT,
    used_before,
)
from enforcement.cus_what_if.replay import AdmittedBy, Event, PastCall, Revision
from enforcement.cus_what_if.windows import MINUTE
from integrations.cus_lifecycle.limits import Window, day_start, month_of
from telemetry.cus_money.amounts import Amounts, LeaseAmounts

_AT_ONCE = 2_000
# Sorting some million rows takes longer than a request's statement may.
_SETTINGS = (
    "-c jit=off -c work_mem=64MB -c statement_timeout=600s"
    " -c default_transaction_isolation=repeatable\\ read"
)
_CALL, _REFUSAL, _SETTLEMENT, _CORRECTION = range(4)
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
# Who made a call, as its row names it. A refused call may have a row, too: its record without usage.
_NAMES = "usage.agent_id, usage.session_id, usage.end_user, usage.tags"
_NAMED = """, named AS MATERIALIZED (
    SELECT usage.call_id, coalesce(usage.model_requested, usage.model) AS model, {names}
    FROM cus_llm_usage AS usage WHERE {of} AND call_id IN (
        SELECT call_id FROM cus_enforcement_decisions WHERE {of} AND {refused})
)""".format(names=_NAMES, of=f"{OF_INTEGRATION} AND {CAME}", refused=_BY_LIMITS)  # noqa: S608
_NO_NAMES = "NULL::text, NULL::text, NULL::text, NULL::jsonb"


def _events(*, names: bool) -> str:
    """SQL for all that happened, in order; with `names` also whose the calls were."""
    of_call = _NAMES if names else _NO_NAMES
    of_refusal = _NAMES.replace("usage.", "named.") if names else _NO_NAMES
    return f"""
WITH settled AS MATERIALIZED (
    SELECT * FROM cus_usage_settlements WHERE {OF_INTEGRATION} AND {CAME}
), corrected AS MATERIALIZED (
    SELECT * FROM cus_cost_adjustments WHERE {OF_INTEGRATION} AND {CAME}
){_NAMED if names else ""}
SELECT {_CALL} AS kind, {_DECIDED_AT} AS at, usage.id, usage.call_id,
    coalesce(usage.model_requested, usage.model), usage.created_at, {SPENT},
    usage.estimate_cents, usage.estimate_microcents, usage.estimate_tokens,
    usage.pricing <> 'unknown', true, usage.policy_result, {_ADMITTED_BY},
    usage.id IN (SELECT usage_id FROM settled UNION ALL SELECT usage_id FROM corrected),
    {of_call}, NULL::jsonb
FROM cus_llm_usage AS usage
WHERE {OF_INTEGRATION} AND {CAME} AND usage.policy_result <> 'blocked'
UNION ALL
SELECT {_REFUSAL}, evaluated_at, id, decision.call_id,
    {"coalesce(facts->>'model', named.model)" if names else "facts->>'model'"}, NULL, 0, 0, 0,
    (facts->'estimate'->>0)::bigint, (facts->'estimate'->>1)::bigint,
    (facts->'estimate'->>2)::bigint, (facts->>'priced')::boolean,
    (facts->>'tokens_known')::boolean, result, '{AdmittedBy.CHECK}', false,
    {of_refusal}, {"facts->'limits'" if names else "NULL::jsonb"}
FROM cus_enforcement_decisions AS decision
    {"LEFT JOIN named ON named.call_id = decision.call_id" if names else ""}
WHERE {OF_INTEGRATION} AND {CAME} AND {_BY_LIMITS}
UNION ALL
SELECT {_SETTLEMENT}, revision.created_at, revision.usage_id, NULL,
    coalesce(usage.model_requested, usage.model), usage.created_at,
    revision.counted_cents, revision.cost_microcents,
    revision.tokens_in::bigint + revision.tokens_out,
    usage.provisional_cents, usage.provisional_microcents, usage.provisional_tokens,
    true, true, NULL, NULL, true, {of_call}, NULL::jsonb
FROM settled AS revision {REVISED_ROW}
UNION ALL
SELECT {_CORRECTION}, revision.created_at, revision.usage_id, NULL,
    coalesce(usage.model_requested, usage.model), usage.created_at,
    0, revision.difference_microcents, 0, 0, 0, 0, true, true, NULL, NULL, true,
    {of_call}, NULL::jsonb
FROM corrected AS revision {REVISED_ROW}
ORDER BY at
"""  # noqa: S608  (the names are this module's own)


_ROWS = f"""
SELECT (SELECT count(*) FROM cus_llm_usage WHERE {OF_INTEGRATION} AND {CAME})
    + (SELECT count(*) FROM cus_enforcement_decisions
        WHERE {OF_INTEGRATION} AND {CAME} AND {_BY_LIMITS})
"""  # noqa: S608  (as above)
# Refusals that limits did not cause, or that an SDK made of facts of its own.
_NOT_JUDGED = f"""
SELECT CASE WHEN reason = 'contention' THEN 'contention' WHEN decided_by = 'sdk' THEN 'by_sdk'
    ELSE result END, count(*)
FROM cus_enforcement_decisions
WHERE {OF_INTEGRATION} AND {CAME} AND result IN ('throttled', 'blocked', 'hard_blocked')
    AND NOT ({_BY_LIMITS})
GROUP BY 1
"""  # noqa: S608  (as above)


class Evidence:
    """One integration's evidence: of calls decided from `since` on, received before `until`.

    `names`: whether limits at scopes are replayed, which must know whose the calls are.
    """

    def __init__(
        self,
        connection: "psycopg.Connection[tuple[Any, ...]]",
        *,
        tenant_id: uuid.UUID,
        integration_id: uuid.UUID,
        since: datetime,
        until: datetime,
        names: bool = False,
    ) -> None:
        self._connection = connection
        # What was admitted just before counts for the rates of the first calls.
        self.began = since - MINUTE
        self._has_names = names
        self._values = {
            "tenant": tenant_id,
            "integration": integration_id,
            "began": self.began,
            "until": until,
        }

    def count(self) -> int:
        """How many calls and refusals there are."""
        return int(self._rows(_ROWS)[0][0])

    def used_before(self) -> Amounts:
        """What the month had used when the first event came."""
        rows = self._rows(used_before(), since=month_of(self.began)[0])
        return Amounts(*rows[0][1:4]) if rows else Amounts()

    def admitted_before(self) -> int:
        """How many calls the day had admitted when the first event came."""
        return int(self._rows(ADMITTED_BEFORE, since=day_start(self.began))[0][0])

    def named_before(self, past: Past) -> Iterator[tuple[CusCallNames, LeaseAmounts]]:
        """What the window of a scope had used when the first event came, by what calls name."""
        values = {
            "since": past.window.start(self.began) or _NO_START,
            "names": list(past.values or ()),
        }
        statement = used_before(
            past.scope, named=past.values is not None, coming=past.window is Window.LIFE
        )
        for name, *used in self._portions(statement, values):
            yield _named(past.scope, name), LeaseAmounts(*used)

    def not_judged(self) -> dict[str, int]:
        """Refusals that say nothing about limits, by what caused them."""
        return dict(self._rows(_NOT_JUDGED))

    def events(self) -> Iterator[Event]:
        """All that happened, in order."""
        for row in self._portions(_events(names=self._has_names), {}):
            yield _event(_Row._make(row))

    def _portions(self, statement: str, values: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement, without holding all of them."""
        with self._connection.cursor(name="cus_simulation", binary=True) as cursor:
            cursor.itersize = _AT_ONCE
            cursor.execute(statement, self._values | values)
            yield from cursor

    def _rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        with self._connection.cursor(binary=True) as cursor:
            return cursor.execute(statement, self._values | values).fetchall()


_NO_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _named(scope: str, name: Any) -> CusCallNames:
    if scope in OF_ALL_CALLS:
        return CusCallNames()
    return CusCallNames(**{"tags" if scope == CusLimitScope.TAG else scope: name})


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
    agent_id: str | None
    session_id: str | None
    end_user: str | None
    tags: list[str] | None
    # Of a refusal: the limits at scopes that applied then, as facts have them.
    limits: list[dict[str, Any]] | None

    @property
    def names(self) -> CusCallNames:
        """Whose the call is; of a refusal that nobody reported, what limits told of it then."""
        told = _told(self.limits) if self.limits else CusCallNames()
        return CusCallNames(
            self.model,
            self.agent_id or told.agent_id,
            self.session_id or told.session_id,
            self.end_user or told.end_user,
            self.tags or told.tags,
        )


def _told(limits: list[dict[str, Any]]) -> CusCallNames:
    named = {one["scope"]: one["value"] for one in limits if one["scope"] in CusCallNames._fields}
    tags = [f"{one['tag']}={one['value']}" for one in limits if one.get("tag")]
    return CusCallNames(**named, tags=tags)


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
        row.names,
    )


def _revision(row: _Row, adds: Amounts) -> Revision:
    takes = Amounts(row.other_cents or 0, row.other_microcents or 0, row.other_tokens or 0)
    assert row.came_at is not None
    of_month = row.kind == _CORRECTION
    return Revision(row.at, row.id, row.came_at, adds, takes, of_month=of_month, names=row.names)
