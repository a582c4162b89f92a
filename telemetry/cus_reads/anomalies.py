"""A tenant's hours that cost far more than is usual, newest first, by key."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from django.db import connection
from msgspec import Meta

from integrations.cus_accounts.models import CusTenant
from telemetry.cus_analytics.models import CusUsageAnomaly
from telemetry.cus_reads.pages import Page, page_of
from telemetry.cus_reads.periods import Period
from telemetry.cus_reads.summaries import find_integration

_KEY = ("hour", "integration_id", "subject", "name")
_COLUMNS = [field.attname for field in CusUsageAnomaly._meta.concrete_fields if field.column]
AnomalyPlace = tuple[Annotated[datetime, Meta(tz=True)], uuid.UUID, str, str]


class CusUsageAnomalies:
    """The events of one tenant."""

    def __init__(self, tenant: CusTenant) -> None:
        self.tenant = tenant

    def page(
        self, period: Period, filters: dict[str, Any], *, after: AnomalyPlace | None, limit: int
    ) -> Page[CusUsageAnomaly]:
        """Events whose hours begin in a period; `filters` are values of `integration_id`, `subject`
        and `name`. Raises IntegrationNotFound.
        """
        find_integration(self.tenant, filters.get("integration_id"))
        conditions = [f"{name} = %({name})s" for name in filters]
        values = {"tenant": self.tenant.id, "start": period.start, "end": period.end, **filters}
        if after is not None:
            marks = ", ".join(f"%(after_{name})s" for name in _KEY)
            conditions.append(f"({', '.join(_KEY)}) < ({marks})")
            values |= {f"after_{name}": value for name, value in zip(_KEY, after, strict=True)}
        statement = f"""
        SELECT {", ".join(_COLUMNS)} FROM cus_usage_anomalies
        WHERE tenant_id = %(tenant)s AND hour >= %(start)s AND hour < %(end)s
            {"".join(f" AND {one}" for one in conditions)}
        ORDER BY {", ".join(f"{name} DESC" for name in _KEY)} LIMIT %(limit)s
        """  # noqa: S608  (the names are this module's own)
        with connection.cursor() as cursor:
            cursor.execute(statement, values | {"limit": limit + 1})
            found = [
                CusUsageAnomaly(**dict(zip(_COLUMNS, row, strict=True)))
                for row in cursor.fetchall()
            ]
        return page_of(found, limit, lambda one: tuple(getattr(one, name) for name in _KEY))
