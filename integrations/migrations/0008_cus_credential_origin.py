"""The origin that each credential was entered for; existing ones for where they go now."""

import re
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from django.db import migrations, models

# As of this migration: where a credential goes is not this file's to change later.
HOMES = {
    "openai": "https://api.openai.com",
    "anthropic": "https://api.anthropic.com",
}
PORTS = {"http": 80, "https": 443}
REGION = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-\d{1,2}")


def present_origin(provider_type, config):
    """Scheme, host and port; empty where the configuration leads nowhere."""
    config = config if isinstance(config, dict) else {}
    address = config.get("base_url") or HOMES.get(provider_type, "")
    if provider_type == "bedrock" and not address:
        region = config.get("region")
        if isinstance(region, str) and REGION.fullmatch(region):
            address = f"https://bedrock.{region}.amazonaws.com"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname.lower().removesuffix("."), parts.port
        host = f"[{IPv6Address(host)}]" if ":" in host else host
        return f"{parts.scheme}://{host}:{port or PORTS[parts.scheme]}"
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""


def enter_for_present_origins(apps, schema_editor):
    integrations = apps.get_model("integrations", "CusIntegration").objects.using(
        schema_editor.connection.alias
    )
    rows = integrations.values_list("id", "provider_type", "config")
    ids = {}
    for row_id, provider_type, config in rows.iterator(chunk_size=2_000):
        ids.setdefault(present_origin(provider_type, config), []).append(row_id)
    for origin, found in ids.items():
        for start in range(0, len(found), 1_000):
            integrations.filter(id__in=found[start : start + 1_000]).update(
                credential_origin=origin
            )


class Migration(migrations.Migration):
    dependencies = [("integrations", "0007_cus_audit_title")]

    operations = [
        migrations.AddField(
            model_name="cusintegration",
            name="credential_origin",
            field=models.TextField(blank=True, db_default="", editable=False),
        ),
        migrations.RunPython(enter_for_present_origins, migrations.RunPython.noop),
    ]
