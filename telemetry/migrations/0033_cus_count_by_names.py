"""Limits at scopes count facts by what they name, so the time grows with facts and matches.

What is counted stays as 0028 has it. There each fact met each limit; here facts are summed up by each
of their names, and limits look for their name.
"""

# ruff: noqa: SLF001  (the names of an earlier migration never change)
from importlib import import_module
from typing import Any

from django.db import migrations

before: Any = import_module("telemetry.migrations.0028_cus_limits_at_scopes")

# The names by which a call's limits find it, beside the whole of its integration.
NAMES = ("model", "agent_id", "session_id", "end_user", "tags")
SCOPES = {name: name for name in NAMES} | {"tags": "tag"}
KEY, COLUMNS, each = before.KEY, before._COLUMNS, before._each


def _whole(names):
    """What `GROUPING` says of facts that are summed up by none of these names."""
    return 2 ** len(names) - 1


def _kind(names):
    """SQL for what `GROUPING` says of facts that are summed up for the scope of a limit."""
    kinds = {
        SCOPES[name]: _whole(names) - 2 ** (len(names) - 1 - place)
        for place, name in enumerate(names)
    }
    cases = " ".join(f"WHEN '{scope}' THEN {kind}" for scope, kind in kinds.items())
    return f"CASE scope {cases} ELSE {_whole(names)} END"


def _summed(facts, names):
    """SQL for facts summed up by each of these names, and by none, in one reading.

    Also by the day of receipt, and by the second of admission where that is in a window of a minute
    yet: by these, limits tell facts apart. Moments are without time zone (UTC), which is quicker.
    """
    texts = [name for name in names if name != "tags"]
    return f"""SELECT GROUPING({", ".join(names)}) AS kind, coalesce({", ".join(texts)}, '') AS value,
            {"tags" if "tags" in names else "NULL::jsonb AS tags"}, received, admitted,
            {each("sum({name}) AS {name}")}
        FROM (SELECT {", ".join(names)}, date_trunc('day', received AT TIME ZONE 'UTC') AS received,
                CASE WHEN admitted > now() - interval '2 minutes'
                    THEN date_trunc('second', admitted AT TIME ZONE 'UTC') END AS admitted,
                {each("{name}")}
            FROM ({facts}) AS fact({COLUMNS}) OFFSET 0) AS fact
        GROUP BY received, admitted, GROUPING SETS ({", ".join(names)}, ())"""


# Of several tags with one key the first counts. Its value may be empty.
_TAGGED = f"""
        UNION ALL
        SELECT kind, key, named, received, admitted, {each("{name}")}
        FROM (SELECT * FROM summed WHERE tags IS NOT NULL) AS of_tags, LATERAL (
            SELECT DISTINCT ON (key) split_part(one, '=', 1) AS key,
                substr(one, strpos(one, '=') + 1) AS named
            FROM jsonb_array_elements_text(tags) WITH ORDINALITY AS every(one, place)
            WHERE strpos(one, '=') > 0 ORDER BY key, place) AS first"""
_START = """CASE scoped."window" WHEN 'life' THEN 'epoch'::timestamp
                WHEN 'minute' THEN named.admitted
                ELSE date_trunc(scoped."window", named.received) END"""


def count(facts, limits, shard, names=NAMES):
    """SQL that adds facts of one integration to the totals of the limits that count them.

    `names` are those that the facts or the limits have. The rows are written in the order of their
    key, so that two statements can't deadlock.
    """
    return f"""
    WITH summed AS MATERIALIZED (
        {_summed(facts, names)}
    ), named AS (
        SELECT kind, '' AS tag, value, received, admitted, {each("{name}")}
        FROM summed WHERE (kind = {_whole(names)}) = (value = '')
        {_TAGGED if "tags" in names else ""}
    ), scoped AS MATERIALIZED (
        SELECT *, {_kind(names)} AS kind FROM ({limits}) AS in_force
    )
    INSERT INTO cus_limit_totals AS total ({KEY}, {each("{name}")})
    SELECT whose.tenant_id, id, value, start AT TIME ZONE 'UTC', whose.integration_id, {shard},
        {each("sum({name})")}
    FROM (
        SELECT scoped.id, named.value, {_START} AS start, {each("named.{name}")}
        FROM named JOIN scoped ON named.kind = scoped.kind AND named.tag = scoped.tag
        WHERE scoped.wanted IS NULL OR scoped.wanted = named.value OFFSET 0
    ) AS counted
    WHERE start IS NOT NULL GROUP BY id, value, start ORDER BY id, value, start
    ON CONFLICT ({KEY}) DO UPDATE SET {each("{name} = total.{name} + excluded.{name}")};"""


# --- What lands ---------------------------------------------------------------------------------

_LANDED = before.rows_of(before._mine("landed"))
_UNTAGGED = NAMES[:-1]


def _runs(facts):
    """SQL for the budgets in code of the sessions that facts name, each looked up by its key."""
    sessions = f"SELECT session_id FROM ({facts}) AS fact({COLUMNS})"
    return f"{before._RUNS} AND session_id = ANY (ARRAY({sessions}))"


def _counts(function, table, facts, shard, *, planning="", tagged="true"):
    """A trigger's function as in 0028. `tagged` says whether any of the facts may name a tag."""
    return f"""
CREATE OR REPLACE FUNCTION {function}() {before._TRIGGER.replace(" AS $$", f"{planning} AS $$")}
DECLARE
    whose record;
    counting record;
BEGIN
    FOR whose IN SELECT DISTINCT tenant_id, integration_id FROM {table} ORDER BY 1, 2 LOOP
        PERFORM pg_advisory_xact_lock_shared(cus_counting_key(whose.integration_id));
        SELECT EXISTS ({before._LIMITS}) AS limits, EXISTS ({before._RUNS}) AS runs,
            {tagged} AS tagged INTO counting;
        IF counting.limits AND counting.tagged THEN
            {count(facts, before._LIMITS, shard)}
        ELSIF counting.limits THEN
            {count(facts, before._LIMITS, shard, _UNTAGGED)}
        END IF;
        IF counting.runs THEN
            {count(facts, _runs(facts), shard, ("session_id",))}
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
"""


def _added(facts_of):
    return facts_of(before._mine("added") + before._THE_ROW)


# Rows that land are joined with limits alone, so never by a loop that reads all limits for each name.
# Settlements and corrections look up their rows, by their keys.
COUNTING = (
    _counts(
        "cus_count_landed",
        "landed",
        _LANDED,
        before._SHARD,
        planning=" SET enable_nestloop = off",
        tagged="EXISTS (SELECT FROM landed WHERE tags IS NOT NULL)",
    )
    + _counts("cus_count_settled", "added", _added(before.settlements_of), "0")
    + _counts("cus_count_corrected", "added", _added(before.corrections_of), "0")
)
COUNTING_BEFORE = (
    before._counts("cus_count_landed", "landed", _LANDED, before._SHARD)
    + before._counts("cus_count_settled", "added", _added(before.settlements_of), "0")
    + before._counts("cus_count_corrected", "added", _added(before.corrections_of), "0")
)

# --- The start of a limit -----------------------------------------------------------------------


def _of_scope(facts):
    """SQL for facts with the names that the limit asks for, so that they are not summed up by others."""
    kept = (f"CASE WHEN scope_of = '{SCOPES[name]}' THEN {name} END AS {name}" for name in NAMES)
    return f"""SELECT {", ".join(kept)}, received, admitted, {each("{name}")}
        FROM ({facts}) AS fact({COLUMNS})"""


def _start_of(function, facts):
    """The function of 0028, which counts as those above do."""
    counted = before.count(facts, before._MADE, "0")
    return before._start_of(function, facts).replace(
        counted, count(_of_scope(facts), before._MADE, "0")
    )


_STARTS = {
    "cus_start_counting": before._ALL_FACTS,
    "cus_start_session": before._SESSION_FACTS,
}
STARTING = "".join(_start_of(name, facts) for name, facts in _STARTS.items())
STARTING_BEFORE = "".join(before._start_of(name, facts) for name, facts in _STARTS.items())


def _replaced(functions):
    return functions.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0032_cus_limit_allotments")]

    operations = [
        migrations.RunSQL(
            _replaced(COUNTING + STARTING), _replaced(COUNTING_BEFORE + STARTING_BEFORE)
        )
    ]
