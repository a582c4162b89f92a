"""The statements by which an integration gets more of a limit of its tenant (ruling F5c).

A limit of the tenant allots each integration what its calls may have taken of it. A check needs only
its integration's lock, because of all integrations together the limit allots at most its amount:
where `taken` is more than an allotment, by calls that nobody held for, it counts instead.

Who asks for more has its own integration's lock, then takes the tenant's, and only tries the locks
of others, so that nobody waits for anybody in a circle. What was not spent is taken back from those
whose locks were free, in a statement after the one that took them: it sees what they admitted.
"""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from telemetry.cus_holds.holds import Value
from telemetry.cus_holds.limit_sums import of_each_integration
from telemetry.cus_money.amounts import MOST

# What is left after an integration got what it needs is divided: it gets its part of a half.
_KEPT_BACK: Final = 2


class Need(NamedTuple):
    """What an integration needs of a limit of its tenant beyond what it has taken.

    `amount`: the limit's own. Both are in the amount of calls that `binds` names.
    """

    limit_id: str
    window: str
    binds: str
    amount: int
    need: int


_TYPES: Final = 'limit_id uuid, "window" text, binds text, amount numeric, need numeric'
# Of each limit of $3: what each integration has of it (`each`), and what may be allotted to $2
# (`rooms`): `own` is what it has taken, `spare` what is neither taken by it nor by others, nor
# allotted to them.
_ROOMS: Final = f"""
WITH each AS MATERIALIZED (
    SELECT asked.*, one.* FROM json_to_recordset($3) AS asked({_TYPES}),
        (SELECT coalesce($4, clock_timestamp()) AS now OFFSET 0) AS moment,
        {of_each_integration("asked.limit_id", 'asked."window"', "asked.binds")} AS one
), sums AS MATERIALIZED (
    SELECT limit_id, greatest(sum(landed), 0) + sum(running)
            - coalesce(sum(taken) FILTER (WHERE integration_id <> $2), 0) AS own,
        coalesce(sum(greatest(allotted, taken)) FILTER (WHERE integration_id <> $2), 0) AS others,
        count(*) FILTER (WHERE integration_id <> $2 AND allotted > 0) AS sharers
    FROM each GROUP BY limit_id
), rooms AS MATERIALIZED (
    SELECT asked.limit_id, asked.binds, asked.need, coalesce(sums.own, 0) AS own,
        asked.amount - coalesce(sums.own + sums.others, 0) AS spare,
        coalesce(sums.sharers, 0) + 1 AS sharers
    FROM json_to_recordset($3) AS asked({_TYPES}) LEFT JOIN sums USING (limit_id)
)"""  # noqa: S608  (the names are this module's own)

# The integrations that have not spent their allotments of limits whose spare is too little, each
# with whether its lock was free; it is this transaction's now.
_TRY = f"""
PREPARE cus_try_unspent (uuid, uuid, json, timestamptz) AS {_ROOMS}, unspent AS MATERIALIZED (
    SELECT DISTINCT integration_id FROM each JOIN rooms USING (limit_id)
    WHERE integration_id <> $2 AND allotted > taken AND spare < rooms.need
)
SELECT json_build_array(integration_id, pg_try_advisory_xact_lock(cus_check_key(integration_id)))
FROM unspent
"""  # noqa: S608  (as above)
# Takes back what the integrations $5 have not spent. Their locks are this transaction's.
_TAKE_BACK = f"""
PREPARE cus_take_back (uuid, uuid, json, timestamptz, uuid[]) AS {_ROOMS}
UPDATE cus_limit_allotments AS lent SET amount = least(greatest(each.taken, 0), {MOST})
FROM each WHERE lent.tenant_id = $1 AND lent.limit_id = each.limit_id
    AND lent.integration_id = each.integration_id AND each.integration_id = ANY ($5)
    AND each.integration_id <> $2 AND each.allotted > each.taken
"""  # noqa: S608  (as above)
# Where the spare is too little, the integration gets all of it: its calls may be smaller. It is less
# than nothing where more is taken than the limit has.
_ALLOT = f"""
PREPARE cus_allot (uuid, uuid, json, timestamptz) AS {_ROOMS}
INSERT INTO cus_limit_allotments AS lent (tenant_id, limit_id, integration_id, binds, amount)
SELECT $1, limit_id, $2, binds, least(greatest(own + CASE WHEN spare >= need
        THEN need + trunc((spare - need) / ({_KEPT_BACK} * sharers)) ELSE spare END,
    0), {MOST})
FROM rooms ORDER BY limit_id
ON CONFLICT (tenant_id, limit_id, integration_id) DO UPDATE
    SET binds = excluded.binds, amount = excluded.amount
"""  # noqa: S608  (as above)

PREPARED = (_TRY, _TAKE_BACK, _ALLOT)


def need_values(
    tenant_id: uuid.UUID, integration_id: uuid.UUID, needs: Sequence[Need], now: datetime | None
) -> tuple[Value, ...]:
    """The arguments of `cus_try_unspent` and `cus_allot`: the integration, what it needs of limits,
    and the moment."""
    document = msgspec.json.encode([need._asdict() for need in needs]).decode()
    return (tenant_id, integration_id, document, now)


def take_back_values(
    values: tuple[Value, ...], integrations: Collection[uuid.UUID]
) -> tuple[Value, ...]:
    """The arguments of `cus_take_back`: those of `cus_allot`, and whose locks are taken."""
    return (*values, f"{{{','.join(map(str, integrations))}}}")


_tried = msgspec.json.Decoder(tuple[uuid.UUID, bool])


def tried_of(rows: Sequence[bytes | None]) -> tuple[set[uuid.UUID], set[uuid.UUID]]:
    """Of the rows of `cus_try_unspent`: the integrations whose locks were free, and the others."""
    tried = [_tried.decode(row or b"") for row in rows]
    return {one for one, is_ours in tried if is_ours}, {
        one for one, is_ours in tried if not is_ours
    }
