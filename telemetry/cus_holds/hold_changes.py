"""The statement that takes and renews the holds of a round of checks."""

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from telemetry.cus_evidence.models import CusCallLedger
from telemetry.cus_holds.holds import LIFE, Value
from telemetry.cus_holds.limit_sums import LimitKey
from telemetry.cus_ids import hash_call_id
from telemetry.cus_money.amounts import Amounts

# The SQLSTATE of `cus_expect_holds`: a call was recorded, or its hold swept, since the reading.
HOLDS_CHANGED = "AO001"
# Takes and renews all holds of a round, in the order of their keys, or fails with HOLDS_CHANGED;
# then the round is rolled back and decided again. A single statement, so that the triggers that sum
# holds fire after all holds were locked, as for ingest. Ledger and holds are looked up by key: a
# join would read both whole if the plan was made while they were small, or if many calls run.
_CHANGE = f"""
PREPARE cus_change_holds (uuid, uuid, json, timestamptz) AS
WITH change AS MATERIALIZED (
    SELECT * FROM json_to_recordset($3) AS change(call_id text, call_hash uuid, cents bigint,
        microcents bigint, tokens bigint, renews boolean, names jsonb, limits jsonb)
), live AS (
    SELECT call_id FROM cus_enforcement_holds
    WHERE tenant_id = $1 AND integration_id = $2
        AND call_id = ANY (ARRAY(SELECT call_id FROM change WHERE renews))
    ORDER BY call_id FOR UPDATE
), renewed AS (
    UPDATE cus_enforcement_holds AS hold SET cents = greatest(hold.cents, change.cents),
        microcents = greatest(hold.microcents, change.microcents),
        tokens = greatest(hold.tokens, change.tokens),
        expires_at = greatest(hold.expires_at, $4 + {LIFE})
    FROM live JOIN change USING (call_id)
    WHERE hold.tenant_id = $1 AND hold.integration_id = $2 AND hold.call_id = live.call_id
    RETURNING 1
), taken AS (
    INSERT INTO cus_enforcement_holds
        (tenant_id, integration_id, call_id, cents, microcents, tokens, names, limits, taken_at,
        expires_at)
    SELECT $1, $2, call_id, cents, microcents, tokens, names, limits, $4, $4 + {LIFE} FROM change
    WHERE NOT renews AND NOT EXISTS (
        SELECT FROM cus_call_ledger AS ledger WHERE ledger.tenant_id = $1
            AND ledger.call_hash = change.call_hash
            AND ledger.integration_id IN ($2, '{CusCallLedger.ANY_INTEGRATION}') OFFSET 0)
    ORDER BY call_id
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT cus_expect_holds((SELECT count(*) FROM change),
    (SELECT count(*) FROM renewed) + (SELECT count(*) FROM taken))
"""  # noqa: S608  (as above)

PREPARED = (_CHANGE,)


class HoldChange(NamedTuple):
    """A hold to take, or an existing hold to renew.

    `names`: what the call names; `limits`: the keys of the limits at scopes that count the call. A
    hold that is renewed keeps those that it has.
    """

    amounts: Amounts
    renews: bool
    names: Mapping[str, Any] = {}
    limits: Collection[LimitKey] = ()


def change_values(
    tenant_id: uuid.UUID,
    integration_id: uuid.UUID,
    changes: Mapping[str, HoldChange],
    now: datetime,
) -> tuple[Value, ...]:
    """The arguments of `cus_change_holds`: the integration, the changes by call id, the moment."""
    document = [
        {
            "call_id": call_id,
            "call_hash": hash_call_id(call_id),
            **change.amounts._asdict(),
            "renews": change.renews,
            "names": change.names,
            "limits": change.limits,
        }
        for call_id, change in changes.items()
    ]
    return (tenant_id, integration_id, msgspec.json.encode(document).decode(), now)
