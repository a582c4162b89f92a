"""Aggregates that sum BIGINT columns: a quick one, which fails where a sum overflows, and a bounded one."""

from django.db import migrations

MOST = 2**63 - 1
# `int8pl` is PostgreSQL's own addition, which skips nulls here and raises `numeric_value_out_of_range`.
CREATE = f"""
CREATE AGGREGATE cus_sum(bigint) (
    sfunc = int8pl, stype = bigint, initcond = '0', combinefunc = int8pl, parallel = safe
);
CREATE FUNCTION cus_add(numeric, bigint) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS 'SELECT $1 + $2';
CREATE FUNCTION cus_bounded(numeric) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS 'SELECT greatest(least($1, {MOST}), -{MOST})::bigint';
CREATE AGGREGATE cus_sum_bounded(bigint) (
    sfunc = cus_add, stype = numeric, initcond = '0', finalfunc = cus_bounded, parallel = safe
);
"""
DROP = """
DROP AGGREGATE cus_sum_bounded(bigint);
DROP FUNCTION cus_bounded(numeric);
DROP FUNCTION cus_add(numeric, bigint);
DROP AGGREGATE cus_sum(bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0029_cus_sweep_limits")]

    operations = [migrations.RunSQL(CREATE, DROP)]
