"""The statements of leases: end and keep them, read what may be lent, and lend (rulings F5a, F5c).

The first two go in one message, after the integration's lock: what is returned counts no more in
the reading that follows. The third goes with the commit. So lent amounts are room that was free
under the lock, and no check sees them free again before they return.

No statement here waits for a row: a hold or a lease that ingest has locked is about to land, and is
skipped. So ingest, which locks holds and then leases, never waits for one that waits for it.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from telemetry.cus_holds.holds import (
    LIFE,
    Evidence,
    MonthRead,
    Value,
    read_values,
    reading_statement,
)
from telemetry.cus_holds.limit_sums import AskedLimit, LimitKey
from telemetry.cus_money.amounts import LeaseAmounts, capped

# No call starts under a lease later than this after its holder asked for it (ruling F5a).
LEASE_LIFE = timedelta(seconds=5)
_LEASE_LIFE = f"interval '{LEASE_LIFE.total_seconds():.0f} seconds'"
_NAMES = LeaseAmounts._fields


def _returned(name: str) -> str:
    """SQL that returns an amount of a lease once, if its holder names what was set aside of it.

    `greatest` passes over the null of a lease that is only kept.
    """
    return f"""{name} = CASE WHEN lease.set_aside_{name} IS NULL
            THEN greatest(lease.{name} - greatest(lease.lent_{name} - named.{name}, 0), 0)
            ELSE lease.{name} END,
        set_aside_{name} = coalesce(lease.set_aside_{name}, named.{name})"""


# What holders say of their calls and leases: $3 calls that run, $4 leases with calls that run, $5
# leases that are over, with all that was set aside of them. Returns the ids of $5 that need not be
# named again: they are returned, or not known any more.
# Rows are looked up by their keys: a join alone could read all holds or leases of an integration.
# The amounts are those of the row once it is locked, and are lowered by differences, so a landing
# that races with a return is exact in either order.
_RELEASE = f"""
PREPARE cus_release_leases (uuid, uuid, text[], uuid[], json, timestamptz) AS
WITH moment AS MATERIALIZED (SELECT coalesce($6, clock_timestamp()) AS now),
running AS MATERIALIZED (
    SELECT call_id FROM cus_enforcement_holds
    WHERE tenant_id = $1 AND integration_id = $2 AND call_id = ANY ($3)
    ORDER BY call_id FOR UPDATE SKIP LOCKED
), renewed AS (
    UPDATE cus_enforcement_holds AS hold
    SET expires_at = greatest(hold.expires_at, (SELECT now FROM moment) + {LIFE})
    WHERE hold.tenant_id = $1 AND hold.integration_id = $2
        AND hold.call_id = ANY (ARRAY(SELECT call_id FROM running))
), named AS MATERIALIZED (
    SELECT * FROM json_to_recordset($5) AS named(lease_id uuid, cents bigint, microcents bigint,
        tokens bigint, calls bigint)
), locked AS MATERIALIZED (
    SELECT id FROM cus_enforcement_leases
    WHERE tenant_id = $1 AND integration_id = $2
        AND id = ANY (ARRAY(SELECT lease_id FROM named) || $4)
    ORDER BY id FOR UPDATE SKIP LOCKED
), changed AS (
    UPDATE cus_enforcement_leases AS lease SET
        expires_at = CASE WHEN lease.id = ANY ($4)
            THEN greatest(lease.expires_at, moment.now + {LIFE}) ELSE lease.expires_at END,
        {", ".join(map(_returned, _NAMES))}
    FROM moment, locked LEFT JOIN named ON named.lease_id = locked.id
    WHERE lease.tenant_id = $1 AND lease.id = locked.id
        AND lease.id = ANY (ARRAY(SELECT id FROM locked))
)
SELECT lease_id FROM named WHERE lease_id IN (SELECT id FROM locked) OR NOT EXISTS (
    SELECT FROM cus_enforcement_leases AS lease WHERE lease.tenant_id = $1
        AND lease.integration_id = $2 AND lease.id = named.lease_id OFFSET 0)
ORDER BY lease_id
"""  # noqa: S608  (the names are this module's own)

_YOUNG = ", ".join(capped(f"sums.young_{name}") for name in _NAMES)
_READ = reading_statement(
    "cus_read_lending",
    more_types=", text",
    more_sums=("leases", *(f"young_{name}" for name in _NAMES)),
    more_fields={
        "leases": "sums.leases",
        "has_runs": """EXISTS (SELECT FROM cus_run_limits AS run
            WHERE run.tenant_id = $1 AND run.integration_id = $2)""",
        "young": f"json_build_array({_YOUNG})",
        "others": f"""(SELECT count(DISTINCT lease.holder_id) FROM cus_enforcement_leases AS lease
            WHERE lease.tenant_id = $1 AND lease.integration_id = $2 AND lease.lent_cents >= 0
                AND lease.taken_at > moment.now - {_LEASE_LIFE} AND lease.holder_id <> $9)""",  # noqa: S608
    },
)

# Returns the lease's id; nothing if there is a lease of that id already.
_LEND = f"""
PREPARE cus_lend (uuid, uuid, uuid, text, json, boolean, jsonb, timestamptz, jsonb, jsonb) AS
INSERT INTO cus_enforcement_leases (tenant_id, integration_id, id, holder_id,
    {", ".join(_NAMES)}, is_young, slices, names, limits, taken_at, expires_at)
SELECT $1, $2, $3, $4, {", ".join(_NAMES)}, $6, $7, $9, $10, $8, $8 + {_LEASE_LIFE} + {LIFE}
FROM json_to_record($5) AS lent({", ".join(f"{name} bigint" for name in _NAMES)})
ON CONFLICT DO NOTHING RETURNING id
"""  # noqa: S608  (as above)

PREPARED = (_RELEASE, _READ, _LEND)


class LendingReading(Evidence, frozen=True):
    """One statement's view of an integration, before a holder gets a lease.

    `leases`: the number of leases. `young`: what remains of young ones. `others`: how many holders
    took a lease in the last five seconds, without the one that asks. `has_runs`: whether sessions of
    the integration have budgets in code.
    """

    leases: int
    has_runs: bool
    young: LeaseAmounts
    others: int


class Lease(NamedTuple):
    """A lease to give: to whom, how much, and the slices of limits, as JSON objects.

    `names`: what all calls of the lease name; `limits`: the keys of the limits at scopes that count
    them.
    """

    id: uuid.UUID
    holder_id: str
    lent: LeaseAmounts
    slices: Sequence[Mapping[str, Any]]
    is_young: bool
    names: Mapping[str, Any] = {}
    limits: Sequence[LimitKey] = ()


class _Read(MonthRead, frozen=True):
    """The document that `cus_read_lending` returns."""

    leases: int
    has_runs: bool
    young: LeaseAmounts
    others: int


_decoder = msgspec.json.Decoder(_Read)


def lending_reading_of(document: bytes, keys: Sequence[LimitKey] = ()) -> LendingReading:
    """The reading in a document of `cus_read_lending`, which was asked about these limits."""
    read = _decoder.decode(document)
    return LendingReading(
        **read.evidence(keys),
        leases=read.leases,
        has_runs=read.has_runs,
        young=read.young,
        others=read.others,
    )


def lending_values(
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID,
    holder_id: str,
    now: datetime | None,
    limits: Sequence[AskedLimit] = (),
    sessions: Sequence[str] = (),
) -> tuple[Value, ...]:
    """The arguments of `cus_read_lending`: the integration, the moment, the limits at scopes and the
    session of the lease's calls, and the holder."""
    values = read_values(tenant_id, integration_id, [], now, limits=limits, sessions=sessions)
    return (*values, holder_id)


def release_values(
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID,
    set_aside: Mapping[uuid.UUID, LeaseAmounts],
    *,
    running: Sequence[str] = (),
    keep: Sequence[uuid.UUID] = (),
    now: datetime | None = None,
) -> tuple[Value, ...]:
    """The arguments of `cus_release_leases`: leases to return, calls that run, leases to keep."""
    named = [{"lease_id": lease, **amounts._asdict()} for lease, amounts in set_aside.items()]
    kept = f"{{{','.join(map(str, keep))}}}"
    return (tenant_id, integration_id, [*running], kept, _json(named), now)


def lend_values(
    tenant_id: uuid.UUID, integration_id: uuid.UUID, lease: Lease, now: datetime
) -> tuple[Value, ...]:
    """The arguments of `cus_lend`: the integration, the lease, and the moment of the reading."""
    whose = (tenant_id, integration_id, lease.id, lease.holder_id)
    is_young = "true" if lease.is_young else "false"
    lent = (_json(lease.lent._asdict()), is_young, _json(lease.slices))
    return (*whose, *lent, now, _json(lease.names), _json(lease.limits))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
