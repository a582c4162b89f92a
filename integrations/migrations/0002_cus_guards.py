"""What the database itself refuses, whoever asks."""

from django.db import migrations

APPEND_ONLY = """
CREATE FUNCTION cus_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is evidence: rows are added, never changed or removed (% refused)',
        TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation',
            HINT = 'Correct a fact by adding another one.';
END $$;
CREATE TRIGGER cus_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cus_price_overrides
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_change();
"""

# Tenants and integrations are closed, never deleted: evidence names them (ruling E5).
NEVER_REMOVED = """
CREATE FUNCTION cus_refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never removed: evidence refers to them', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'Close it instead.';
END $$;
CREATE TRIGGER cus_never_removed BEFORE DELETE OR TRUNCATE ON cus_tenants
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_delete();
CREATE TRIGGER cus_never_removed BEFORE DELETE OR TRUNCATE ON cus_integrations
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_delete();
"""


class Migration(migrations.Migration):
    dependencies = [("integrations", "0001_cus_integrations")]

    operations = [
        migrations.RunSQL(APPEND_ONLY, "DROP FUNCTION cus_refuse_change() CASCADE"),
        migrations.RunSQL(NEVER_REMOVED, "DROP FUNCTION cus_refuse_delete() CASCADE"),
    ]
