"""How the time to recompute a day grows with its rows."""

import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from benchmarks.cus_reads.world import fill_tenant
from benchmarks.cus_report import Section
from benchmarks.cus_targets import ROLLUP_OF_A_DAY
from telemetry.cus_analytics.days import TenantDay
from telemetry.cus_analytics.models import CusRollupDue
from telemetry.cus_analytics.usage_aggregator import recompute_day

_HOURS = 24


def rollups(sizes: Sequence[int]) -> Section:
    """A table: a new tenant's day with so many rows, recomputed."""
    section = Section(
        "A day of one tenant, recomputed",
        ("rows", "recomputed s", "target", "us a row", "one hour of it s"),
    )
    section.rows = [_measured(rows) for rows in sizes]
    return section


def _measured(rows: int) -> Sequence[str]:
    tenant_id = uuid.uuid4()
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    midnight = noon - timedelta(hours=36)
    integrations = [uuid.uuid4() for _ in range(12)]
    fill_tenant(tenant_id, integrations, rows, (midnight, midnight + timedelta(days=1)))
    day = TenantDay(midnight.date(), tenant_id)
    whole = _recomputed(day, range(_HOURS))
    hour = _recomputed(day, range(1))
    verdict = ROLLUP_OF_A_DAY.verdict(whole, rows=rows)
    return (
        f"{rows:,}", f"{whole:.2f}", verdict, f"{whole / rows * 1e6:.1f}", f"{hour:.2f}",
    )  # fmt: skip


def _recomputed(day: TenantDay, hours: range) -> float:
    """Seconds to recompute these hours of a day, and the day."""
    CusRollupDue.objects.bulk_create(
        CusRollupDue(tenant_id=day.tenant_id, hour=day.start + timedelta(hours=hour))
        for hour in hours
    )
    started = time.monotonic()
    if not recompute_day(day):
        message = "another run recomputes the day"
        raise RuntimeError(message)
    return time.monotonic() - started
