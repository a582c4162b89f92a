"""Run by `manage.py shell` in a product of a few minutes: what a product of a day also has."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from integrations.cus_jobs.models import CusJobTotals
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.models import CusCostForecast, CusUsageAnomaly
from telemetry.cus_seals.models import CusEvidenceSeal

now = timezone.now()
for one in CusIntegration.objects.all():
    key: dict[str, Any] = {"tenant_id": one.tenant_id, "integration_id": one.id}
    CusIntegration.objects.filter(id=one.id).update(
        rate_limit_rpm=600, token_limit_month=10**9, coverage_percent=90, unproven_calls=0
    )
    CusCostForecast.objects.update_or_create(
        **key,
        defaults={"period": now.date().replace(day=1), "microcents": 10**9, "computed_at": now},
    )
    CusUsageAnomaly.objects.get_or_create(
        **key, subject="integration", name="", hour=now.replace(minute=0, second=0, microsecond=0),
        defaults={"cost_microcents": 10**9, "usual_microcents": 1, "weeks": 8},
    )  # fmt: skip
for tenant_id in set(CusIntegration.objects.values_list("tenant_id", flat=True)):
    CusEvidenceSeal.objects.get_or_create(
        tenant_id=tenant_id, day=(now - timedelta(days=1)).date(),
        defaults={
            "form": 1, "key_id": "test", "rows": 0, "settlements": 0, "adjustments": 0,
            "rows_digest": "0" * 64, "settlements_digest": "0" * 64,
            "adjustments_digest": "0" * 64, "previous": "0" * 64, "digest": "0" * 64,
            "sealed_at": now,
        },
    )  # fmt: skip
CusJobTotals.objects.get_or_create(
    name="failed.once",
    defaults={"failed": 1, "last_failed_at": now - timedelta(days=1), "last_succeeded_at": now},
)
