"""Holds and leases beside the evidence that settles them: what a check reads and sets aside.

The statements are prepared on the enforcement pool's connections and run there by name, so
that a check is two messages: lock and read, then hold and commit. All that a decision needs
is read by one statement, after the lock was had (ruling F5): what a statement sees was
committed before it began.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import msgspec
from django.db import connection as app_connection
from psycopg.errors import DivisionByZero

from telemetry.cus_amounts import MOST, Amounts
from telemetry.cus_ids import hash_call_id

# A hold ends this long after its last renewal (ruling F5).
HOLD_LIFE = timedelta(minutes=15)
_SWEPT_AT_ONCE = 1_000
# What a prepared statement takes.
Value: TypeAlias = "int | str | bytes | uuid.UUID | datetime | list[str] | None"


class OwnHold(NamedTuple):
    """A live hold of a call that is asked about. `recent`: taken within the last minute."""

    amounts: Amounts
    recent: bool


class Reading(msgspec.Struct, frozen=True):
    """What one statement saw of an integration: its row, and its month's evidence.

    `held` and `admitted` leave out the calls that are asked about; those are in `own`, or,
    where another integration of the tenant holds them, in `taken_elsewhere`.
    """

    now: datetime
    integration: Mapping[str, Any]
    used: Amounts
    held: Amounts
    leased: Amounts
    admitted: int
    recorded: frozenset[str]
    own: Mapping[str, OwnHold]
    taken_elsewhere: frozenset[str]


def _sum(expression: str) -> str:
    return f"least(coalesce(sum({expression}), 0), {MOST})::bigint"


def _lives(table: str) -> str:
    # In a form that no index helps with: one on `expires_at` has every tenant's.
    return f"{table}.expires_at - moment.now > interval '0'"


_AMOUNTS = ", ".join(f"{_sum(name)} AS {name}" for name in ("cents", "microcents", "tokens"))
_MINUTE = "interval '60 seconds'"
_LIFE = f"interval '{HOLD_LIFE.total_seconds():.0f} seconds'"


def _authority(own_prices: str) -> str:
    """What decisions read of an integration, and of its tenant's own prices."""
    return f"""
    json_build_object(
        'status', integration.status, 'credential_state', integration.credential_state,
        'enforcement_level', integration.enforcement_level,
        'budget_limit_cents', integration.budget_limit_cents,
        'budget_basis', integration.budget_basis,
        'token_limit_month', integration.token_limit_month,
        'rate_limit_rpm', integration.rate_limit_rpm,
        'allow_unpriced', integration.allow_unpriced,
        'config_version', integration.config_version,
        'coverage_percent', integration.coverage_percent,
        'deleted', integration.deleted_at IS NOT NULL OR tenant.closed_at IS NOT NULL,
        'provider_type', integration.provider_type,
        'default_model', integration.default_model,
        'base_url', integration.config->>'base_url',
        'overrides', {own_prices}
    )
"""


# An estimate needs the price of the moment, of the models that are asked about ($6).
_OWN_PRICES_ASKED = """
    (SELECT json_agg(json_build_array(own.id, own.model, own.prices, own.valid_from)
        ORDER BY own.valid_from DESC)::text
    FROM unnest($6) AS asked(model), LATERAL (
        SELECT id, model, prices, valid_from FROM cus_price_overrides AS one
        WHERE one.tenant_id = $1 AND one.model = asked.model AND one.valid_from <= moment.now
        ORDER BY one.valid_from DESC LIMIT 1
    ) AS own)
"""
_ALL_OWN_PRICES = """
    (SELECT json_agg(json_build_array(id, model, prices, valid_from)
        ORDER BY valid_from DESC)::text
    FROM cus_price_overrides AS own WHERE own.tenant_id = $1)
"""
# By its id alone: planned over a few rows, the tenant's index would look as good. `OFFSET 0`
# keeps the planner from merging it, or the moment, into the rest.
_FROM = """
    (SELECT * FROM cus_integrations WHERE id = $2 OFFSET 0) AS integration
    JOIN cus_tenants AS tenant ON tenant.id = integration.tenant_id
"""
_MOMENT = "(SELECT coalesce($5, clock_timestamp()) AS now OFFSET 0) AS moment"

# The month and the minute are those of the server's clock when the lock was had (ruling E3).
# A caller may name another moment: that is how tests reach the next month.
_READ = f"""
PREPARE cus_read (uuid, uuid, text[], uuid[], timestamptz, text[]) AS
SELECT json_build_object(
    'now', moment.now,
    'integration', {_authority(_OWN_PRICES_ASKED)},
    'used', json_build_array(totals.cents, totals.microcents, totals.tokens),
    'held', json_build_array(held.cents, held.microcents, held.tokens),
    'leased', json_build_array(leased.cents, leased.microcents, leased.tokens),
    'admitted', held.recent + leased.recent + CASE WHEN integration.rate_limit_rpm > 0 THEN (
        SELECT count(*) FROM (
            SELECT 1 FROM cus_llm_usage AS usage
            WHERE usage.tenant_id = $1 AND usage.integration_id = $2
                AND usage.created_at > moment.now - {_MINUTE}
                AND usage.policy_result <> 'blocked'
                AND CASE WHEN usage.admitted_at IS NULL
                    THEN usage.created_at - usage.occurred_at <= {_MINUTE}
                    ELSE usage.admitted_at > moment.now - {_MINUTE} END
            ORDER BY usage.created_at DESC LIMIT integration.rate_limit_rpm::bigint + 1
        ) AS admissions
    ) ELSE 0 END,
    'recorded', ARRAY(
        SELECT call_hash FROM cus_call_ledger WHERE tenant_id = $1 AND call_hash = ANY ($4)),
    'own', (SELECT json_object_agg(call_id, json_build_array(cents, microcents, tokens,
            taken_at > moment.now - {_MINUTE}, hold.integration_id = $2))
        FROM cus_enforcement_holds AS hold WHERE hold.tenant_id = $1
            AND hold.call_id = ANY ($3) AND {_lives("hold")})
)
FROM {_MOMENT}, {_FROM}, LATERAL (
    SELECT {_sum("cost_cents")} AS cents,
        greatest({_sum("cost_microcents::numeric + correction_microcents")}, 0) AS microcents,
        {_sum("tokens_in::numeric + tokens_out")} AS tokens
    FROM cus_period_totals AS total WHERE total.tenant_id = $1 AND total.integration_id = $2
        AND total.period = date_trunc('month', moment.now AT TIME ZONE 'UTC')::date
) AS totals, LATERAL (
    SELECT {_AMOUNTS}, count(*) FILTER (WHERE taken_at > moment.now - {_MINUTE}) AS recent
    FROM cus_enforcement_holds AS hold WHERE hold.tenant_id = $1 AND hold.integration_id = $2
        AND {_lives("hold")} AND hold.call_id <> ALL ($3)
) AS held, LATERAL (
    SELECT {_AMOUNTS}, coalesce(sum(calls)
            FILTER (WHERE taken_at > moment.now - {_MINUTE}), 0)::bigint AS recent
    FROM cus_enforcement_leases AS lease WHERE lease.tenant_id = $1
        AND lease.integration_id = $2 AND {_lives("lease")}
) AS leased
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

_READ_OWN_MODELS = """
PREPARE cus_read_own_models (uuid) AS
SELECT DISTINCT model FROM cus_price_overrides WHERE tenant_id = $1
"""

# Fails for a call that was recorded meanwhile, whose hold was swept, or that another integration
# holds by now: then nothing of the round is committed, and it is decided anew.
_OR_FAIL = "SELECT 1 / count(*) FROM changed"
HoldFailed = DivisionByZero
# Asked for again, a live hold keeps the larger amounts and when it was taken; one whose life
# is over begins anew.
_TAKE = f"""
PREPARE cus_take_hold (uuid, uuid, text, uuid, bigint, bigint, bigint, timestamptz) AS
WITH changed AS (INSERT INTO cus_enforcement_holds AS hold
    (tenant_id, integration_id, call_id, cents, microcents, tokens, taken_at, expires_at)
SELECT $1, $2, $3, $5, $6, $7, $8, $8 + {_LIFE} WHERE NOT EXISTS (
    SELECT FROM cus_call_ledger WHERE tenant_id = $1 AND call_hash = $4)
ON CONFLICT (tenant_id, call_id) DO UPDATE SET integration_id = excluded.integration_id,
    cents = CASE WHEN hold.expires_at > $8 THEN greatest(hold.cents, excluded.cents)
        ELSE excluded.cents END,
    microcents = CASE WHEN hold.expires_at > $8
        THEN greatest(hold.microcents, excluded.microcents) ELSE excluded.microcents END,
    tokens = CASE WHEN hold.expires_at > $8 THEN greatest(hold.tokens, excluded.tokens)
        ELSE excluded.tokens END,
    taken_at = CASE WHEN hold.expires_at > $8 THEN hold.taken_at ELSE excluded.taken_at END,
    expires_at = excluded.expires_at
WHERE hold.integration_id = excluded.integration_id OR hold.expires_at <= $8
RETURNING 1) {_OR_FAIL}
"""  # noqa: S608  (as above)
# A hold that was there when we read: if its call has landed meanwhile it must not come back.
_RENEW = f"""
PREPARE cus_renew_hold (uuid, uuid, text, uuid, bigint, bigint, bigint, timestamptz) AS
WITH changed AS (UPDATE cus_enforcement_holds AS hold SET cents = greatest(cents, $5),
    microcents = greatest(microcents, $6), tokens = greatest(tokens, $7),
    expires_at = $8 + {_LIFE}
WHERE tenant_id = $1 AND integration_id = $2 AND call_id = $3
RETURNING 1) {_OR_FAIL}
"""  # noqa: S608  (as above)

PREPARED = (_READ, _READ_AUTHORITY, _READ_CONFIG, _READ_OWN_MODELS, _TAKE, _RENEW)


class HoldChange(NamedTuple):
    """A hold to be taken, or one that is there to be renewed."""

    amounts: Amounts
    renews: bool

    @property
    def statement(self) -> str:
        """The name of what does it with `values`, or fails with HoldFailed."""
        return "cus_renew_hold" if self.renews else "cus_take_hold"

    def values(
        self, tenant_id: uuid.UUID, integration_id: uuid.UUID, call_id: str, now: datetime
    ) -> tuple[Value, ...]:
        """Of the call whose hold it is, at the moment of the decision."""
        return (tenant_id, integration_id, call_id, hash_call_id(call_id), *self.amounts, now)


def lock_key(integration_id: uuid.UUID) -> int:
    """The number of an integration's advisory lock: 63 bits of its id."""
    # Two integrations that share a number would only wait for each other.
    return int.from_bytes(integration_id.bytes[8:]) >> 1


def lock(
    integration_id: uuid.UUID,
    *,
    wait_seconds: float,
    read_seconds: float,
    table_lock_seconds: float,
) -> str:
    """What begins a check: the integration's lock within a time, and how long reading may take.

    Only the integration's own checks take it, so it makes nobody wait who does not check.
    `table_lock_seconds`: how long the reading waits for a table that somebody has locked; less
    than `read_seconds`, so that the error tells a locked table from a slow reading (ruling F6a).
    """
    # The lock is the first that gives rows: what fails with `lock_timeout` before that has
    # waited for the integration, after that for a table.
    return (
        f"BEGIN; SET LOCAL lock_timeout = {_milliseconds(wait_seconds)}; "
        f"SELECT pg_advisory_xact_lock({lock_key(integration_id)}); "
        f"SET LOCAL lock_timeout = {_milliseconds(table_lock_seconds)}; "
        f"SET LOCAL statement_timeout = {_milliseconds(read_seconds)}"
    )


def _milliseconds(seconds: float) -> int:
    # 0 would be no limit.
    return max(int(seconds * 1_000), 1)


def read_values(
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID,
    call_ids: Sequence[str],
    now: datetime | None = None,
    own_models: Sequence[str] = (),
) -> tuple[Value, ...]:
    """What `cus_read` needs: whose, of which calls, and which of the tenant's own prices."""
    hashes = f"{{{','.join(map(hash_call_id, call_ids))}}}"
    return (tenant_id, integration_id, list(call_ids), hashes, now, list(own_models))


class _Read(msgspec.Struct):
    """The document that `cus_read` gives."""

    now: datetime
    integration: dict[str, Any]
    used: Amounts
    held: Amounts
    leased: Amounts
    admitted: int
    recorded: set[uuid.UUID]
    # Of each call asked about that has a hold: its amounts, whether it is recent, whether ours.
    own: dict[str, tuple[int, int, int, bool, bool]] | None


_read = msgspec.json.Decoder(_Read)


def reading_of(document: bytes, call_ids: Sequence[str]) -> Reading:
    """What `cus_read` says."""
    read = _read.decode(document)
    holds = read.own or {}
    hashes = {call_hash.hex for call_hash in read.recorded}
    return Reading(
        now=read.now,
        integration=read.integration,
        used=read.used,
        held=read.held,
        leased=read.leased,
        admitted=read.admitted,
        recorded=frozenset(name for name in call_ids if hashes and hash_call_id(name) in hashes),
        own={
            call_id: OwnHold(Amounts(*amounts), recent)
            for call_id, (*amounts, recent, ours) in holds.items()
            if ours
        },
        taken_elsewhere=frozenset(
            name for name in call_ids if name in holds and not holds[name][4]
        ),
    )


_SWEEP_HOLDS = """
WITH over AS (
    SELECT tenant_id, call_id FROM cus_enforcement_holds AS hold
    WHERE expires_at <= %(now)s OR EXISTS (
        SELECT FROM cus_call_ledger AS ledger WHERE ledger.tenant_id = hold.tenant_id
            AND ledger.call_hash = encode(substr(sha256(convert_to(hold.call_id, 'UTF8')), 1, 16),
                'hex')::uuid)
    ORDER BY tenant_id, call_id LIMIT %(most)s FOR UPDATE OF hold SKIP LOCKED
)
DELETE FROM cus_enforcement_holds AS hold USING over
WHERE hold.tenant_id = over.tenant_id AND hold.call_id = over.call_id
"""
_SWEEP_LEASES = """
WITH over AS (
    SELECT tenant_id, id FROM cus_enforcement_leases WHERE expires_at <= %(now)s
    ORDER BY tenant_id, id LIMIT %(most)s FOR UPDATE SKIP LOCKED
)
DELETE FROM cus_enforcement_leases AS lease USING over
WHERE lease.tenant_id = over.tenant_id AND lease.id = over.id
"""


def sweep(now: datetime) -> tuple[int, int]:
    """Remove the holds and leases whose life is over; says how many of each.

    They count for nothing from that moment on, swept or not. A hold that was taken while its
    call was being stored is removed too: nothing would settle it.
    """
    return _sweep(_SWEEP_HOLDS, now), _sweep(_SWEEP_LEASES, now)


def _sweep(statement: str, now: datetime) -> int:
    swept: int = 0
    with app_connection.cursor() as cursor:
        while True:
            cursor.execute(statement, {"now": now, "most": _SWEPT_AT_ONCE})
            swept += cursor.rowcount
            if cursor.rowcount < _SWEPT_AT_ONCE:
                return swept
