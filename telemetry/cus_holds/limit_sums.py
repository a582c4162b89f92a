"""SQL by which a check reads what is taken of limits at scopes, and budgets of runs, by their keys."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from telemetry.cus_money.amounts import MOST, LeaseAmounts

# The limit, the call's value of its scope, and its window: by these, totals and holds are kept.
LimitKey: TypeAlias = tuple[str, str, str]
# A key; of a limit of the tenant also the amount of calls that it binds, which asks for the share.
AskedLimit: TypeAlias = tuple[str, ...]
_NAMES: Final = LeaseAmounts._fields


def key_of(limit: AskedLimit) -> LimitKey:
    """The key of a limit that is asked about."""
    return limit[0], limit[1], limit[2]


class Share(NamedTuple):
    """An integration's share of a limit of its tenant, in the amount that the limit binds.

    `allotted`: what the integration may have taken in all (ruling F5c). `others`: what other
    integrations have taken; `unspent`: what they may still take of their allotments.
    """

    limit_id: str
    allotted: int
    others: int
    unspent: int

    def elsewhere(self, limit: int) -> int:
        """What others may still take of the limit: all that is not allotted here."""
        return max(limit - self.allotted - self.others, self.unspent)


class LimitTaken(NamedTuple):
    """What is taken of a limit in its present window: what landed, what is held, what is lent.

    `share`: of a limit of the tenant, whose other amounts are those of all its integrations.
    """

    used: LeaseAmounts = LeaseAmounts()
    held: LeaseAmounts = LeaseAmounts()
    leased: LeaseAmounts = LeaseAmounts()
    share: Share | None = None


class RunLimit(NamedTuple):
    """A session's budget from code, and what is taken of it. None: no such budget.

    Amounts are those that count; `raised` has those of them that a person has raised.
    """

    session_id: str
    limit_id: str
    cents: int | None
    microcents: int | None
    tokens: int | None
    calls: int | None
    taken: Sequence[int]
    raised: Mapping[str, int] = {}

    @property
    def key(self) -> LimitKey:
        """By this the budget's totals, holds and leases are kept."""
        return self.limit_id, self.session_id, "life"


def run_limit_id(integration_id: uuid.UUID, session_id: str) -> uuid.UUID:
    """The id of the budget of a session of an integration: nobody has to look for it."""
    digest = hashlib.sha256(integration_id.bytes + session_id.encode()).digest()
    return uuid.UUID(bytes=digest[:16])


def taken_of(numbers: Sequence[int], share: Share | None = None) -> LimitTaken:
    """What the numbers of `TAKEN` say."""
    size = len(_NAMES)
    parts = (numbers[place : place + size] for place in range(0, 3 * size, size))
    used, held, leased = (LeaseAmounts(*part) for part in parts)
    return LimitTaken(used, held, leased, share)


def _sum(column: str, *, least: str = "") -> str:
    summed = f"least(coalesce(sum({column}), 0), {MOST})"
    return f"{f'greatest({summed}, 0)' if least else summed}::bigint"


# Corrections may come to more than the rest, so what landed is at least 0.
_LANDED = ", ".join(f"{_sum(name, least='0')} AS {name}" for name in _NAMES)
_RUNNING = ", ".join(
    f"{_sum(f'{kind}_{name}')} AS {kind}_{name}" for kind in ("held", "leased") for name in _NAMES
)
# What is taken of a key, of the tables of `sums_of`, as `taken_of` reads it.
TAKEN: Final = ", ".join(
    (
        *(f"landed.{name}" for name in _NAMES),
        *(f"running.{kind}_{name}" for kind in ("held", "leased") for name in _NAMES),
    )
)
# A second counts as long as any part of it is within the last 60 seconds.
_MINUTE = "moment.now - interval '61 seconds'"


class _Within(NamedTuple):
    """SQL conditions of a limit's sums: those of the present window, and those of what runs."""

    landed: str
    running: str


def _within(limit: str, value: str, window: str, tenant: str = "$1") -> _Within:
    since = f"CASE {window} WHEN 'minute' THEN {_MINUTE}"
    present = f"""{since} WHEN 'life' THEN '1969-12-31 UTC'::timestamptz
                ELSE date_trunc({window}, moment.now, 'UTC') - interval '1 microsecond' END"""
    until = f"""CASE WHEN {window} IN ('minute', 'life') THEN 'infinity'::timestamptz
                ELSE date_trunc({window}, moment.now, 'UTC') END"""
    of_key = f"sums.tenant_id = {tenant} AND sums.limit_id = {limit} AND sums.value = {value}"
    return _Within(
        f"{of_key} AND sums.start > {present} AND sums.start <= {until}",
        f"{of_key} AND sums.start > {since} ELSE '1969-12-31 UTC'::timestamptz END",
    )


def sums_of(limit: str, value: str, window: str, tenant: str = "$1") -> str:
    """SQL for the sums of a key: `landed` of the present window, `running` of holds and leases.

    All are SQL; the statement has a `moment` with its `now`.
    """
    within = _within(limit, value, window, tenant)
    return f"""LATERAL (
            SELECT {_LANDED} FROM cus_limit_totals AS sums WHERE {within.landed}
        ) AS landed, LATERAL (
            SELECT {_RUNNING} FROM cus_limit_holds AS sums WHERE {within.running}
        ) AS running"""  # noqa: S608  (the names are the tables' own)


def of_each_integration(limit: str, window: str, binds: str, tenant: str = "$1") -> str:
    """SQL for what each integration has of a limit of the tenant, in the amount that it binds.

    All are SQL; the statement has a `moment` with its `now`.
    `landed` may be negative, by corrections; `taken` is at least what runs. An allotment in another
    amount than the limit binds now is none.
    """
    within = _within(limit, "''", window, tenant)
    landed = " ".join(f"WHEN '{name}' THEN sums.{name}" for name in _NAMES)
    running = " ".join(
        f"WHEN '{name}' THEN sums.held_{name} + sums.leased_{name}" for name in _NAMES
    )
    return f"""LATERAL (
            SELECT integration_id, sum(landed) AS landed, sum(running) AS running,
                greatest(sum(landed), 0) + sum(running) AS taken, sum(allotted) AS allotted
            FROM (
                SELECT integration_id, sum(CASE {binds} {landed} END) AS landed, 0 AS running,
                    0 AS allotted
                FROM cus_limit_totals AS sums WHERE {within.landed} GROUP BY integration_id
                UNION ALL
                SELECT integration_id, 0, sum(CASE {binds} {running} END), 0
                FROM cus_limit_holds AS sums WHERE {within.running} GROUP BY integration_id
                UNION ALL
                SELECT integration_id, 0, 0, amount FROM cus_limit_allotments AS lent
                WHERE lent.tenant_id = {tenant} AND lent.limit_id = {limit} AND lent.binds = {binds}
            ) AS part GROUP BY integration_id
        )"""  # noqa: S608  (as above)


# For each key of $7, in order: `TAKEN`. Nothing is read where no limit counts a call.
LIMITS_TAKEN: Final = f"""CASE WHEN $7 IS NOT NULL THEN (
        SELECT json_agg(json_build_array({TAKEN}) ORDER BY asked.place)
        FROM json_array_elements($7) WITH ORDINALITY AS asked(key, place),
        {sums_of("(asked.key->>0)::uuid", "asked.key->>1", "(asked.key->>2)")}) END"""  # noqa: S608
# What a person raised an amount to replaces the amount, whatever code says.
_COUNTED = ", ".join(f"coalesce(run.raised_{name}, run.{name})" for name in _NAMES)
_RAISED = f"""json_strip_nulls(json_build_object({
    ", ".join(f"'{name}', run.raised_{name}" for name in _NAMES)
}))"""
_OWN = "FILTER (WHERE integration_id = $2)"
_OTHERS = "FILTER (WHERE integration_id <> $2)"
# For each of $7 that says what it binds, as limits of the tenant do: a `Share`. `OFFSET 0` keeps the
# planner from reading the document anew for each row of the sums.
SHARES: Final = f"""CASE WHEN $7 IS NOT NULL THEN (
        SELECT json_agg(json_build_array(asked.id, share.allotted, share.others, share.unspent))
        FROM (SELECT (key->>0)::uuid AS id, key->>2 AS over, key->>3 AS binds
            FROM json_array_elements($7) AS one(key) WHERE key->>3 IS NOT NULL OFFSET 0
        ) AS asked, LATERAL (
            SELECT least(coalesce(sum(allotted) {_OWN}, 0), {MOST})::bigint AS allotted,
                least(coalesce(sum(taken) {_OTHERS}, 0), {MOST})::bigint AS others,
                least(coalesce(sum(greatest(allotted - taken, 0)) {_OTHERS}, 0), {MOST})::bigint
                    AS unspent
            FROM {of_each_integration("asked.id", "asked.over", "asked.binds")} AS one
        ) AS share) END"""  # noqa: S608
# The budgets of the sessions $8.
RUN_LIMITS: Final = f"""CASE WHEN cardinality($8) > 0 THEN (
        SELECT json_agg(json_build_array(run.session_id, run.limit_id, {_COUNTED},
            json_build_array({TAKEN}), {_RAISED}))
        FROM (SELECT * FROM cus_run_limits WHERE tenant_id = $1 AND integration_id = $2
            AND session_id = ANY ($8) OFFSET 0) AS run,
        {sums_of("run.limit_id", "run.session_id", "'life'")}) END"""  # noqa: S608
# For the own holds of a check: the limits that count each, and whether a window of a minute does.
OWN_LIMITS: Final = f"""json_object_agg(call_id, json_build_array(limits,
            date_trunc('second', taken_at, 'UTC') > {_MINUTE})) FILTER (WHERE limits <> '[]')"""

_START_RUN: Final = f"""
PREPARE cus_start_run (uuid, uuid, text, uuid, json) AS
INSERT INTO cus_run_limits AS run (tenant_id, integration_id, session_id, limit_id,
    {", ".join(_NAMES)})
SELECT $1, $2, $3, $4, {", ".join(_NAMES)}
FROM json_to_record($5) AS asked({", ".join(f"{name} bigint" for name in _NAMES)})
ON CONFLICT (tenant_id, integration_id, session_id) DO UPDATE SET used_at = now(),
    {", ".join(f"{name} = least(run.{name}, excluded.{name})" for name in _NAMES)}
"""  # noqa: S608  (the names are this module's own)
# Drops idle budgets of the integration $1, $2 where it has more than $4, never that of the session $3;
# fails with RUNS_FULL if none is idle.
_BOUND_RUNS: Final = """
PREPARE cus_bound_runs (uuid, uuid, text, bigint) AS SELECT cus_bound_runs($1, $2, $3, $4)
"""
RUNS_FULL: Final = "53400"
PREPARED: Final = (_START_RUN, _BOUND_RUNS)
