"""Few calls meet each limit again, as in 0028; only many are first summed up by their names, as in 0033.

What is counted stays the same. To sum up by five names takes a batch of 50 calls longer than eight
limits that look at each call.
"""

# ruff: noqa: SLF001  (the names of earlier migrations never change)
from importlib import import_module
from typing import Any

from django.db import migrations

before: Any = import_module("telemetry.migrations.0028_cus_limits_at_scopes")
by_names: Any = import_module("telemetry.migrations.0033_cus_count_by_names")
AMOUNTS = ", ".join(before.AMOUNTS)
# So many meetings of a call with a limit take as long as summing up.
FEW = 1_000
# Numbers are told apart more quickly than the names of scopes.
_KINDS = {"model": 1, "agent_id": 2, "session_id": 3, "end_user": 4}
_TAG = 5
_VALUE = " ".join(f"WHEN {kind} THEN fact.{name}" for name, kind in _KINDS.items())
# Of several tags with one key the first counts. Its value may be empty.
_TAGGED = """(SELECT substr(named.tag, length(scoped.tag) + 2)
                FROM jsonb_array_elements_text(fact.tags) WITH ORDINALITY AS named(tag, place)
                WHERE starts_with(named.tag, scoped.tag || '=') ORDER BY place LIMIT 1)"""


def _started(limits):
    """SQL for limits with the start of their windows, null for minutes.

    All calls of `whose` were received on one day, so each limit has one start for them.
    """
    kinds = " ".join(f"WHEN '{name}' THEN {kind}" for name, kind in _KINDS.items())
    return f"""SELECT id, tag, wanted, CASE scope {kinds} WHEN 'tag' THEN {_TAG} ELSE 0 END AS kind,
            CASE "window" WHEN 'life' THEN 'epoch'::timestamptz WHEN 'minute' THEN NULL
                ELSE date_trunc("window", whose.received, 'UTC') END AS start
        FROM ({limits}) AS in_force"""


def met(facts, limits, shard, *, tagged):
    """SQL that adds facts of one integration and day to the totals of the limits that count them, in
    the order of their key. `tagged` says whether any of the facts may name a tag.

    `OFFSET 0` keeps the planner from working out each expression for each limit.
    """
    named = (f"nullif({name}, '') AS {name}" for name in _KINDS)
    return f"""
    WITH scoped AS MATERIALIZED (
        {_started(limits)}
    )
    INSERT INTO cus_limit_totals AS total ({before.KEY}, {AMOUNTS})
    SELECT whose.tenant_id, id, value, start, whose.integration_id, {shard}, {before._each("sum({name})")}
    FROM (
        SELECT scoped.id, scoped.wanted, coalesce(scoped.start, fact.second) AS start,
            CASE scoped.kind WHEN 0 THEN '' {_VALUE} {f"ELSE {_TAGGED}" if tagged else ""} END AS value,
            {before._each("fact.{name}")}
        FROM (
            SELECT {", ".join(named)}, tags, CASE WHEN admitted > now() - interval '2 minutes'
                THEN date_bin('1 second', admitted, 'epoch') END AS second, {AMOUNTS}
            FROM ({facts}) AS fact({before._COLUMNS}) OFFSET 0
        ) AS fact CROSS JOIN scoped OFFSET 0
    ) AS counted
    WHERE value IS NOT NULL AND start IS NOT NULL AND (wanted IS NULL OR wanted = value)
    GROUP BY id, value, start ORDER BY id, value, start
    ON CONFLICT ({before.KEY}) DO UPDATE SET
        {before._each("{name} = total.{name} + excluded.{name}")};"""


_LANDED, _SHARD = by_names._LANDED, before._SHARD
# As in 0033, limits are looked for once the counting lock is had, by a statement of their own.
COUNTING = f"""
CREATE OR REPLACE FUNCTION cus_count_landed() {
    before._TRIGGER.replace(" AS $$", " SET enable_nestloop = off AS $$")
}
DECLARE
    whose record;
    counting record;
BEGIN
    FOR whose IN
        SELECT tenant_id, integration_id, count(*) AS calls, min(created_at) AS received,
            max(created_at) AS last, bool_or(tags IS NOT NULL) AS tagged
        FROM landed GROUP BY 1, 2 ORDER BY 1, 2
    LOOP
        PERFORM pg_advisory_xact_lock_shared(cus_counting_key(whose.integration_id));
        SELECT count(*) AS limits, EXISTS ({before._RUNS}) AS runs INTO counting
        FROM ({before._LIMITS}) AS in_force;
        IF counting.limits = 0 THEN
            NULL;
        ELSIF whose.calls * counting.limits <= {FEW}
            AND date_trunc('day', whose.received, 'UTC') = date_trunc('day', whose.last, 'UTC') THEN
            IF whose.tagged THEN
                {met(_LANDED, before._LIMITS, _SHARD, tagged=True)}
            ELSE
                {met(_LANDED, before._LIMITS, _SHARD, tagged=False)}
            END IF;
        ELSIF whose.tagged THEN
            {by_names.count(_LANDED, before._LIMITS, _SHARD)}
        ELSE
            {by_names.count(_LANDED, before._LIMITS, _SHARD, by_names._UNTAGGED)}
        END IF;
        IF counting.runs THEN
            {by_names.count(_LANDED, by_names._runs(_LANDED), _SHARD, ("session_id",))}
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
"""
# The first of the functions of 0033.
COUNTING_BEFORE = by_names._counts(
    "cus_count_landed",
    "landed",
    _LANDED,
    _SHARD,
    planning=" SET enable_nestloop = off",
    tagged="EXISTS (SELECT FROM landed WHERE tags IS NOT NULL)",
)


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0036_cus_drop_runs_by_row")]

    operations = [migrations.RunSQL(COUNTING, COUNTING_BEFORE)]
