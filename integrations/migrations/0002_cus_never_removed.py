"""The database itself refuses to remove a tenant or an integration."""

from django.db import migrations

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
        migrations.RunSQL(NEVER_REMOVED, "DROP FUNCTION cus_refuse_delete() CASCADE"),
    ]
