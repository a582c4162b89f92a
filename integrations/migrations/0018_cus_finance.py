"""Finance: a role of the staff and of a tenant's people (ruling C9)."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("integrations", "0017_cus_tenant_zone")]

    operations = [
        migrations.AddField(
            "cususer",
            "is_finance",
            models.BooleanField(
                db_default=False,
                default=False,
                help_text="May read usage and money of all tenants, and close their months.",
                verbose_name="finance staff",
            ),
        ),
        migrations.RemoveConstraint("cusmembership", "cus_memberships_role"),
        migrations.AlterField(
            "cusmembership",
            "role",
            models.CharField(
                choices=[
                    ("admin", "Tenant admin"),
                    ("member", "Tenant member"),
                    ("finance", "Tenant finance"),
                ],
                default="member",
                max_length=20,
            ),
        ),
        migrations.AddConstraint(
            "cusmembership",
            models.CheckConstraint(
                condition=models.Q(("role__in", ["admin", "member", "finance"])),
                name="cus_memberships_role",
            ),
        ),
    ]
