"""Run by `manage.py shell`: integrations that the product itself brings to alarming states."""

import os
from pathlib import Path
from typing import Any

from django.utils import timezone

from integrations.cus_health.service import CusHealthService
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration

tenant = CusIntegration.objects.get(name="Demo: small budget").tenant
service = CusIntegrationService(tenant)
# Nothing answers at this name, which is reserved for that.
unreachable: dict[str, Any] = {
    "provider_type": "custom", "config": {"base_url": "https://provider.invalid/v1"},
    "credential": {"api_key": "sk-of-no-provider"}, "default_model": "gpt-4o",
}  # fmt: skip
for name, checks in (("Watched: degraded", 1), ("Watched: failing", 3)):
    ill = service.enable(service.create(name=name, **unreachable))
    for _number in range(checks):
        CusHealthService(tenant).check(ill, now=timezone.now())
limits: dict[str, dict[str, Any]] = {
    "Watched: throttled": {"rate_limit_rpm": 1, "enforcement_level": "throttle"},
    "Watched: warned": {"budget_limit_cents": 100},
}
for name, limit in limits.items():
    limited = service.enable(service.create(name=name, **limit, **unreachable))
    _key, text = issue_sdk_key(limited)
    Path(os.environ["CUS_DATA_DIR"], f"{name}.key").write_text(text)
