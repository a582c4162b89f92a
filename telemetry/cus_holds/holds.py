"""The statements of a check: read holds, leases and evidence, and take holds.

The enforcement pool's connections prepare the statements and run them by name, so a check is two
messages: lock and read, then hold and commit. A single statement reads everything that a decision
needs, after the lock is taken (ruling F5), because a statement sees what was committed before the
statement began.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import msgspec
from django.conf import settings

from integrations.cus_lifecycle.limits import LIMIT_COLUMNS, RATES
from telemetry.cus_evidence.models import CusCallLedger
from telemetry.cus_holds.admissions import OWN_ADMITTED, OWN_SUMS, admitted
from telemetry.cus_holds.limit_sums import (
    LIMITS_TAKEN,
    OWN_LIMITS,
    RUN_LIMITS,
    SHARES,
    AskedLimit,
    LimitKey,
    LimitTaken,
    RunLimit,
    Share,
    taken_of,
)
from telemetry.cus_ids import hash_call_id, lock_key
from telemetry.cus_money.amounts import USED, Amounts, capped
from telemetry.cus_money.own_prices import COLUMNS

# A hold ends this long after its last renewal (ruling F5).
HOLD_LIFE = timedelta(seconds=settings.CUS_HOLD_LIFE_SECONDS)
# The types of a prepared statement's arguments.
Value: TypeAlias = "int | str | bytes | uuid.UUID | datetime | list[str] | None"


class OwnHold(NamedTuple):
    """The hold of a call that the check is about.

    `admitted`: for each of `RATES`, 1 if the hold was taken within its window, else 0. `limits`:
    the keys of the limits at scopes that count the hold in their present window; `all_limits`: those
    that have counted it in any.
    """

    amounts: Amounts
    admitted: tuple[int, ...]
    limits: Collection[LimitKey] = ()
    all_limits: Collection[LimitKey] = ()


class Month(msgspec.Struct, frozen=True):
    """An integration's row, and its month's evidence.

    Holds and leases count until they are settled, returned or swept (ruling F5b).
    """

    now: datetime
    integration: dict[str, Any]
    used: Amounts
    held: Amounts
    running: int
    leased: Amounts
    admitted: tuple[int, ...]


class Evidence(Month, frozen=True):
    """The month's evidence, and that of limits at scopes.

    `limits`: what is taken of those that were asked about, all holds included. `runs`: the budgets
    in code of the sessions that were asked about.
    """

    limits: Mapping[LimitKey, LimitTaken]
    runs: Mapping[str, RunLimit]


class MonthRead(Month, frozen=True):
    """The document that a reading statement returns."""

    limits: list[tuple[int, ...]] | None
    shares: list[Share] | None
    runs: list[RunLimit] | None

    def evidence(self, keys: Sequence[LimitKey]) -> dict[str, Any]:
        """The fields of `Evidence`; `keys` are the limits that were asked about."""
        shares = {share.limit_id: share for share in self.shares or ()}
        taken = {
            key: taken_of(numbers, shares.get(key[0]))
            for key, numbers in zip(keys, self.limits or (), strict=True)
        }
        runs = {run.session_id: run for run in self.runs or ()}
        taken |= {run.key: taken_of(run.taken) for run in runs.values()}
        month = {name: getattr(self, name) for name in Month.__struct_fields__}
        return {**month, "limits": taken, "runs": runs}


class Reading(Evidence, frozen=True):
    """One statement's view of an integration: its row, and its month's evidence.

    `held`, `running` (the number of holds) and `admitted` (the calls or tokens that were admitted
    within the window of each of `RATES`) leave out the calls of the check; those are in `own`. A hold counts until
    it is settled or swept (ruling F5b).
    """

    recorded: frozenset[str]
    own: Mapping[str, OwnHold]


_NAMES = Amounts._fields
_SIZE = len(_NAMES)
# The sums of all holds without the holds of the check's own calls. The sums are exact, so the
# difference is not negative. A sum may exceed the largest amount, so it is capped.
_OF_OTHERS = ", ".join(capped(f"sums.{name} - own.{name}") for name in _NAMES)
LIFE = f"interval '{HOLD_LIFE.total_seconds():.0f} seconds'"


_LIMIT_COLUMNS = ", ".join(f"'{column}', integration.{column}" for column in LIMIT_COLUMNS)


def _authority(own_prices: str) -> str:
    """SQL for the fields of an integration that decisions read, with its tenant's own prices."""
    return f"""
    json_build_object(
        'id', integration.id, 'status', integration.status, 'credential_state', integration.credential_state,
        'enforcement_level', integration.enforcement_level,
        {_LIMIT_COLUMNS},
        'allow_unpriced', integration.allow_unpriced,
        'max_live_holds', integration.max_live_holds,
        'config_version', integration.config_version,
        'coverage_percent', integration.coverage_percent,
        'deleted', integration.deleted_at IS NOT NULL OR tenant.closed_at IS NOT NULL,
        'provider_type', integration.provider_type,
        'default_model', integration.default_model,
        'base_url', integration.config->>'base_url',
        'overrides', {own_prices},
        'stops', (SELECT json_agg(json_build_array(stop.scope, stop.value, stop.reason, stop.stopped_by)
            ORDER BY stop.created_at)::text
            FROM cus_stops AS stop WHERE stop.integration_id = $2 AND stop.lifted_at IS NULL)
    )
"""  # noqa: S608  (the names are this module's own)


# As `OwnPrice` has them, the latest first.
_OWN_PRICES = f"""json_agg(json_build_array({", ".join(f"own.{name}" for name in COLUMNS)})
        ORDER BY own.valid_from DESC, own.created_at DESC)::text"""
_OF_THE_INTEGRATION = "(one.integration_id IS NULL OR one.integration_id = $2)"
# Compared by their bytes, which takes half the time of comparing them as a language does.
_SCOPE = 'one.integration_id, one.host COLLATE "C", one.provider COLLATE "C"'
# An estimate needs the prices of the moment, one of each scope, of the models that are asked
# about ($6).
_OWN_PRICES_ASKED = f"""
    (SELECT {_OWN_PRICES} FROM unnest($6) AS asked(model), LATERAL (
        SELECT DISTINCT ON ({_SCOPE}) one.*
        FROM cus_price_overrides AS one
        WHERE one.tenant_id = $1 AND one.model = asked.model AND one.valid_from <= moment.now
            AND {_OF_THE_INTEGRATION}
        ORDER BY {_SCOPE}, one.valid_from DESC
    ) AS own)
"""  # noqa: S608  (the names are this module's own)
_ALL_OWN_PRICES = f"""
    (SELECT {_OWN_PRICES} FROM (
        SELECT one.* FROM cus_price_overrides AS one
        WHERE one.tenant_id = $1 AND {_OF_THE_INTEGRATION}
    ) AS own)
"""  # noqa: S608  (as above)
# Selects the integration by its id alone: over few rows, the planner could prefer the tenant's
# index. `OFFSET 0` keeps the planner from merging this subquery, or `moment`, into the query.
_FROM = """
    (SELECT * FROM cus_integrations WHERE id = $2 OFFSET 0) AS integration
    JOIN cus_tenants AS tenant ON tenant.id = integration.tenant_id
"""
_MOMENT = "(SELECT coalesce($5, clock_timestamp()) AS now OFFSET 0) AS moment"

_KEPT_SUMS = (*_NAMES, *(f"leased_{name}" for name in _NAMES))


def reading_statement(
    name: str,
    *,
    more_types: str = "",
    more_sums: Sequence[str] = (),
    more_fields: Mapping[str, str] | None = None,
) -> str:
    """SQL that prepares a reading of an integration and its evidence, in one statement.

    `more_sums`: other columns of `cus_hold_sums` to sum up, which `more_fields` of the document may
    name. Month and minute are by the server's clock after the lock was taken (ruling E3). Tests pass
    another moment, to reach the next month.
    """
    leased = ", ".join(capped(f"sums.leased_{one}") for one in _NAMES)
    fields = {
        "now": "moment.now",
        "integration": _authority(_OWN_PRICES_ASKED),
        "used": "json_build_array(totals.cents, totals.microcents, totals.tokens)",
        "held": f"json_build_array({_OF_OTHERS})",
        "running": "sums.calls - own.calls",
        "leased": f"json_build_array({leased})",
        "admitted": f"json_build_array({', '.join(map(admitted, RATES))})",
        "recorded": f"""ARRAY(
        SELECT call_hash FROM cus_call_ledger WHERE tenant_id = $1 AND call_hash = ANY ($4)
            AND integration_id IN ($2, '{CusCallLedger.ANY_INTEGRATION}'))""",  # noqa: S608
        "own": "own.holds",
        "limits": LIMITS_TAKEN,
        "shares": SHARES,
        "runs": RUN_LIMITS,
        "own_limits": "own.limits",
        **(more_fields or {}),
    }
    return f"""
PREPARE {name} (uuid, uuid, text[], uuid[], timestamptz, text[], json, text[]{more_types}) AS
SELECT json_build_object({", ".join(f"'{field}', {value}" for field, value in fields.items())})
FROM {_MOMENT}, {_FROM}, LATERAL (
    SELECT {USED.cents} AS cents, {USED.microcents} AS microcents, {USED.tokens} AS tokens
    FROM cus_period_totals AS total WHERE total.tenant_id = $1 AND total.integration_id = $2
        AND total.period = date_trunc('month', moment.now AT TIME ZONE 'UTC')::date
) AS totals, LATERAL (
    SELECT coalesce(sum(calls), 0)::bigint AS calls, {
        ", ".join(f"coalesce(sum({one}), 0) AS {one}" for one in (*_KEPT_SUMS, *more_sums))
    }
    FROM cus_hold_sums AS sums WHERE sums.tenant_id = $1 AND sums.integration_id = $2
) AS sums, LATERAL (
    SELECT count(*) AS calls,
        {", ".join(f"coalesce(sum({one}), 0) AS {one}" for one in _NAMES)}, {OWN_SUMS},
        json_object_agg(call_id, json_build_array(cents, microcents, tokens,
            {OWN_ADMITTED})) AS holds, {OWN_LIMITS} AS limits
    FROM cus_enforcement_holds AS hold WHERE hold.tenant_id = $1 AND hold.integration_id = $2
        AND hold.call_id = ANY ($3)
) AS own
WHERE integration.tenant_id = $1 AND integration.id = $2
"""  # noqa: S608  (the names are this module's own)


_READ_AUTHORITY = f"""
PREPARE cus_read_authority (uuid, uuid) AS
SELECT {_authority("NULL")} FROM {_FROM}
WHERE integration.tenant_id = $1 AND integration.id = $2
"""  # noqa: S608  (as above)

_READ_CONFIG = f"""
PREPARE cus_read_config (uuid, uuid) AS
SELECT {_authority(_ALL_OWN_PRICES)} FROM {_FROM}
WHERE integration.tenant_id = $1 AND integration.id = $2
"""  # noqa: S608  (as above)

PREPARED = (reading_statement("cus_read"), _READ_AUTHORITY, _READ_CONFIG)


def lock(
    integration_id: uuid.UUID,
    *,
    wait_seconds: float,
    read_seconds: float,
    table_lock_seconds: float,
) -> str:
    """SQL that begins a check: take the integration's lock in time, and bound the reading.

    Only the integration's own checks take this lock, so no other statement waits for it.
    `table_lock_seconds`: how long the reading waits for a table that another session has locked;
    less than `read_seconds`, so that the error tells a locked table from a slow reading (F6a).
    """
    # The lock's statement is the first that returns rows. So a `lock_timeout` before any row means
    # a wait for the integration's lock, and a later one a wait for a table.
    return (
        f"BEGIN; {lock_also(integration_id, wait_seconds, table_lock_seconds)}; "
        f"SET LOCAL statement_timeout = {_milliseconds(read_seconds)}"
    )


def lock_also(one: uuid.UUID, wait_seconds: float, table_lock_seconds: float) -> str:
    """SQL that takes the lock of an integration or a tenant in time, within a transaction."""
    return (
        f"SET LOCAL lock_timeout = {_milliseconds(wait_seconds)}; "
        f"SELECT pg_advisory_xact_lock({lock_key(one)}); "
        f"SET LOCAL lock_timeout = {_milliseconds(table_lock_seconds)}"
    )


def _milliseconds(seconds: float) -> int:
    # At least 1, because 0 means no limit.
    return max(int(seconds * 1_000), 1)


def read_values(
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID,
    call_ids: Sequence[str],
    now: datetime | None = None,
    own_models: Sequence[str] = (),
    limits: Sequence[AskedLimit] = (),
    sessions: Sequence[str] = (),
) -> tuple[Value, ...]:
    """The arguments of `cus_read`: the integration, the calls, the moment, the models, and the limits
    at scopes and the sessions that count the calls."""
    hashes = f"{{{','.join(map(hash_call_id, call_ids))}}}"
    asked = msgspec.json.encode(limits).decode() if limits else None
    whose = (tenant_id, integration_id, list(call_ids), hashes, now)
    return (*whose, list(own_models), asked, list(sessions))


class _Read(MonthRead, frozen=True):
    """The document that `cus_read` returns."""

    own_limits: dict[str, tuple[list[LimitKey], bool]] | None
    recorded: set[uuid.UUID]
    # For each call of the check with a hold: its amounts, and its flags of `OWN_ADMITTED`.
    own: dict[str, tuple[int, ...]] | None


_read = msgspec.json.Decoder(_Read)


def reading_of(document: bytes, call_ids: Sequence[str], keys: Sequence[LimitKey] = ()) -> Reading:
    """The reading in a document of `cus_read`, which was asked about these calls and limits."""
    read = _read.decode(document)
    holds = read.own or {}
    hashes = {call_hash.hex for call_hash in read.recorded}
    return Reading(
        **read.evidence(keys),
        recorded=frozenset(name for name in call_ids if hashes and hash_call_id(name) in hashes),
        own={
            call_id: OwnHold(
                Amounts(*numbers[:_SIZE]),
                numbers[_SIZE:],
                *_counted((read.own_limits or {}).get(call_id)),
            )
            for call_id, numbers in holds.items()
        },
    )


def _counted(
    own: tuple[Sequence[LimitKey], bool] | None,
) -> tuple[Collection[LimitKey], Collection[LimitKey]]:
    """The limits that count a hold in their present window, and in any."""
    if own is None:
        return (), ()
    keys, of_minute = own
    return frozenset(key for key in keys if of_minute or key[2] != "minute"), frozenset(keys)
