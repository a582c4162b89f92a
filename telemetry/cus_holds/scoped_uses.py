"""What is used, held and lent of limits at scopes, for people and metrics.

For display only: a decision reads the same tables under its own lock (ruling F5).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connection

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.uses import MANY_VALUES, Part, Use, Uses
from telemetry.cus_holds.limit_sums import of_each_integration
from telemetry.cus_money.amounts import capped

# All time begins here, and so do sums of holds that no minute counts.
_EVER: Final = "'1969-12-31 UTC'::timestamptz"
# A second counts as long as any part of it is within the last 60 seconds.
_MINUTE: Final = "now() - interval '61 seconds'"


def _counted(prefix: str) -> str:
    """SQL for the column that a limit counts; money in microcents, on either basis."""
    return f"""CASE asked.counts WHEN 'calls' THEN sums.{prefix}calls
        WHEN 'tokens' THEN sums.{prefix}tokens WHEN 'exact' THEN sums.{prefix}microcents
        ELSE sums.{prefix}cents * {MICROCENTS_PER_CENT} END"""


def _bounded(amount: str) -> str:
    return capped(f"coalesce({amount}, 0)")


# Limit by limit, and of each only as many of the fullest values are sorted as are asked for, among as
# many as are read: there may be millions.
_USES: Final = f"""
SELECT limit_id, counted, value, used, held, lent
FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[])
    AS asked(tenant_id, limit_id, counted_over, counts), LATERAL (
    WITH landed AS (
        SELECT value, greatest(sum({_counted("")}), 0) AS used
        FROM cus_limit_totals AS sums
        WHERE sums.tenant_id = asked.tenant_id AND sums.limit_id = asked.limit_id
            AND sums.start > CASE counted_over WHEN 'minute' THEN {_MINUTE} WHEN 'life' THEN {_EVER}
                ELSE date_trunc(counted_over, now(), 'UTC') - interval '1 microsecond' END
        GROUP BY value ORDER BY value LIMIT %s
    ), running AS (
        SELECT value, greatest(sum({_counted("held_")}), 0) AS held,
            greatest(sum({_counted("leased_")}), 0) AS lent
        FROM cus_limit_holds AS sums
        WHERE sums.tenant_id = asked.tenant_id AND sums.limit_id = asked.limit_id
            AND sums.start > CASE counted_over WHEN 'minute' THEN {_MINUTE} ELSE {_EVER} END
        GROUP BY value ORDER BY value LIMIT %s
    ), taken AS MATERIALIZED (
        SELECT value, {_bounded("used")} AS used, {_bounded("held")} AS held,
            {_bounded("lent")} AS lent
        FROM landed FULL JOIN running USING (value)
    )
    SELECT (SELECT count(*) FROM taken) AS counted, fullest.*
    FROM (SELECT * FROM taken ORDER BY used::numeric + held + lent DESC, value
        LIMIT %s) AS fullest
) AS uses
"""  # noqa: S608  (the names are the tables' own)


# So many values of a limit are read for its page, which shows the fullest of them.
_MOST_READ: Final = 10 * MANY_VALUES

# What each integration has of a limit of the tenant, the fullest first.
_SHARES: Final = f"""
SELECT integration.name, {_bounded("one.taken")}, {_bounded("one.allotted")}
FROM (SELECT %s::uuid AS tenant_id, %s::uuid AS limit_id, %s AS counted_over, %s AS binds) AS asked,
    (SELECT now() AS now) AS moment,
    {of_each_integration("asked.limit_id", "asked.counted_over", "asked.binds", "asked.tenant_id")}
        AS one JOIN cus_integrations AS integration ON integration.id = one.integration_id
WHERE one.taken > 0 OR one.allotted > 0
ORDER BY one.taken DESC, one.allotted DESC, integration.name LIMIT %s
"""  # noqa: S608  (as above)
_BINDS: Final = {"rounded": "cents", "exact": "microcents"}


def uses_of(limits: Sequence[CusScopedLimit], most: int) -> Mapping[UUID, Uses]:
    """The uses of limits in their present windows by id, each with its `most` fullest values; where
    that is more than one, those of the tenant with their fullest integrations.

    The cost grows with the values that the limits count, not with history. Where one value is asked
    for, at most `MANY_VALUES` and one more are read, and of a limit of more none is the fullest.
    """
    read = _MOST_READ if most > 1 else MANY_VALUES + 1
    asked: list[list[Any]] = [
        [limit.tenant_id for limit in limits],
        [limit.id for limit in limits],
        [str(limit.window) for limit in limits],
        [_counts(limit) for limit in limits],
    ]
    values: dict[UUID, int] = {}
    fullest: dict[UUID, list[Use]] = {limit.id: [] for limit in limits}
    with connection.cursor() as cursor:
        cursor.execute(_USES, [*asked, read, read, most])
        for limit_id, counted, value, used, held, lent in cursor:
            values[limit_id] = min(counted, read)
            if counted < read:
                fullest[limit_id].append(Use(value, used, held, lent))
    parts = {
        limit.id: _parts(limit, most)
        for limit in limits
        if most > 1 and limit.scope == CusScopedLimit.Scope.TENANT
    }
    return {
        name: Uses(values.get(name, 0), tuple(uses), parts.get(name, ()))
        for name, uses in fullest.items()
    }


def _parts(limit: CusScopedLimit, most: int) -> Sequence[Part]:
    binds = _BINDS.get(_counts(limit), limit.unit)
    unit = MICROCENTS_PER_CENT if binds == "cents" else 1
    with connection.cursor() as cursor:
        cursor.execute(_SHARES, [limit.tenant_id, limit.id, limit.window, binds, most])
        return [Part(name, taken * unit, lent * unit) for name, taken, lent in cursor]


def _counts(limit: CusScopedLimit) -> str:
    return str(limit.basis if limit.unit == CusScopedLimit.Unit.CENTS else limit.unit)
