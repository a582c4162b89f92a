"""Allotments: what a limit of the tenant lends each of its integrations (ruling F5c)."""

from django.db import migrations, models

# A limit that changes allots anew. Whoever decided by it before has committed once this has the
# locks of all integrations; whoever allots has committed once this has the tenant's, which is the
# last, because those who wait for it have the lock of an integration.
ANEW = """
CREATE FUNCTION cus_allot_anew() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE one uuid;
BEGIN
    IF NEW.scope <> 'tenant'
        OR (NEW.amount, NEW.basis, NEW.enabled, NEW.valid_from, NEW.valid_until, NEW.deleted_at)
        IS NOT DISTINCT FROM
        (OLD.amount, OLD.basis, OLD.enabled, OLD.valid_from, OLD.valid_until, OLD.deleted_at) THEN
        RETURN NULL;
    END IF;
    FOR one IN SELECT id FROM cus_integrations WHERE tenant_id = NEW.tenant_id ORDER BY id LOOP
        PERFORM pg_advisory_xact_lock(cus_check_key(one));
    END LOOP;
    PERFORM pg_advisory_xact_lock(cus_check_key(NEW.tenant_id));
    DELETE FROM cus_limit_allotments WHERE tenant_id = NEW.tenant_id AND limit_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER cus_allot_anew AFTER UPDATE ON cus_scoped_limits
    FOR EACH ROW EXECUTE FUNCTION cus_allot_anew();
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0031_cus_outcomes_mended")]

    operations = [
        migrations.CreateModel(
            name="CusLimitAllotment",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "limit_id",
                        "integration_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("limit_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("binds", models.CharField(max_length=10)),
                ("amount", models.BigIntegerField()),
            ],
            options={
                "db_table": "cus_limit_allotments",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount__gte", 0)), name="cus_limit_allotments_amount"
                    )
                ],
            },
        ),
        migrations.RunSQL(
            ANEW,
            "DROP TRIGGER cus_allot_anew ON cus_scoped_limits; DROP FUNCTION cus_allot_anew()",
        ),
    ]
