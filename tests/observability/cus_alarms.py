"""Run by `manage.py shell`: integrations that the product itself brings to alarming states."""

import os
from pathlib import Path

from django.utils import timezone

from integrations.cus_health.service import CusHealthService
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration

tenant = CusIntegration.objects.get(name="Demo: small budget").tenant
service = CusIntegrationService(tenant)
# Nothing answers at this name, which is reserved for that.
unreachable = {
    "provider_type": "custom", "config": {"base_url": "https://provider.invalid/v1"},
    "credential": {"api_key": "sk-of-no-provider"}, "default_model": "gpt-4o",
}  # fmt: skip
for name, checks in (("Watched: degraded", 1), ("Watched: failing", 3)):
    one = service.enable(service.create(name=name, **unreachable))
    for _ in range(checks):
        CusHealthService(tenant).check(one, now=timezone.now())
throttled = service.enable(
    service.create(
        name="Watched: throttled", rate_limit_rpm=1, enforcement_level="throttle", **unreachable
    )
)
_, key = issue_sdk_key(throttled)
Path(os.environ["CUS_DATA_DIR"], "throttled.key").write_text(key)
