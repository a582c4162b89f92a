"""Finance's panel on the console's first page: the last months, and what is open of them."""

from datetime import date, timedelta
from typing import Any, cast

from django.db.models import Count, F, QuerySet, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.amounts import dollars
from integrations.cus_console.own_page import Link
from integrations.cus_console.panels import table
from telemetry.cus_clock import page_now
from telemetry.cus_evidence.models import CusPeriodTotals
from telemetry.cus_statements.models import CusMonthStatement

_MONTHS = 3


def last_months(request: HttpRequest, _subject: None) -> SafeString:
    """The cost of the last months, by receipt, and of how many tenants each is closed."""
    months = _months(page_now(request).date())
    seen: QuerySet[CusPeriodTotals] = visible_to(
        CusPeriodTotals.objects.filter(period__in=months), cast("CusUser", request.user)
    )
    sums: dict[date, dict[str, Any]] = {
        one["period"]: dict(one)
        for one in seen.values("period").annotate(
            tenants=Count("tenant_id", distinct=True),
            exact=Sum(F("cost_microcents") + F("correction_microcents")),
        )
    }
    closed = dict(
        visible_to(
            CusMonthStatement.objects.filter(month__in=months), cast("CusUser", request.user)
        )
        .values_list("month")
        .annotate(Count("id"))
    )
    rows = [
        [
            Link(f"{month:%B %Y}", reverse("cus-statement", args=[month])).html,
            dollars(sums[month]["exact"]) if month in sums else dollars(0),
            f"{sums[month]['tenants']:,}" if month in sums else "0",
            f"{closed.get(month, 0):,}",
        ]
        for month in months
    ]
    return table(
        ["Month", "Exact cost, as corrected", "Tenants with usage", "Closed for"], rows, empty=""
    )


def _months(today: date) -> list[date]:
    months = [today.replace(day=1)]
    while len(months) < _MONTHS:
        months.append((months[-1] - timedelta(days=1)).replace(day=1))
    return months
