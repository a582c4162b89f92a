"""Panels of analytics on the console's first page."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import add
from typing import Any, cast

from django.db.models import DecimalField, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.amounts import dollars
from integrations.cus_console.facts import Figure
from integrations.cus_console.panels import Cell, table
from integrations.cus_integrations.panels import link_to
from integrations.cus_lifecycle.limits import month_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.forecast import hour_before
from telemetry.cus_analytics.models import CusUsageAnomaly, CusUsageHourly
from telemetry.cus_analytics.month_forecast import rest_of_month
from telemetry.cus_clock import page_now
from telemetry.cus_evidence.models import CusPeriodTotals
from telemetry.cus_evidence.panels import calls_page

_DEAREST = 10
# Beyond so many integrations, reading the hours of all would make the first page slow.
_MOST_FORECAST = 100
_MOST_EVENTS = 10
_EVENTS_SHOWN_FOR = timedelta(days=7)
_NUMBERS = ("ran", "failed", "refused", "exact", "counted")
_NO_FORECAST = "-"
_WEEK = timedelta(days=7)


def figures_of_today(request: HttpRequest, _subject: None) -> SafeString:
    """The viewer's usage of today and of the month, each day against the same time last week."""
    now = page_now(request)
    hour = hour_before(now)
    sums = _today_and_last_week(request, hour)
    month = visible_to(
        CusPeriodTotals.objects.filter(period=month_of(now)[0].date()),
        cast("CusUser", request.user),
    ).aggregate(
        exact=_sum("cost_microcents", "correction_microcents"), counted=_sum("counted_cents")
    )
    exact, counted = int(month["exact"]), int(month["counted"]) * MICROCENTS_PER_CENT
    cost, since = reverse("cus-cost"), {"from": f"{hour:%Y-%m-%d}"}
    then = f"by {hour:%H:%M} last {hour:%A}"

    def day(title: str, name: str, link: str) -> Figure:
        write = dollars if name == "exact" else "{:,}".format
        return Figure(title, write(sums[name]), f"{write(sums[f'{name}_before'])} {then}", link)

    figures = [
        day("Spent today", "exact", cost),
        Figure("Spent this month", dollars(exact), "exact, as corrected", cost),
        Figure("As limits count it", dollars(counted), f"rounding adds {dollars(counted - exact)}"),
        day("Calls today", "ran", calls_page(**since)),
        day("Failed today", "failed", calls_page(outcome="failed", **since)),
        day("Blocked today", "refused", calls_page(outcome="blocked", **since)),
    ]
    note = f"Today since 00:00 UTC, up to {hour:%H:%M}, the last full hour."
    return render_to_string("admin/cus_figures.html", {"figures": figures, "note": note})


def _today_and_last_week(request: HttpRequest, hour: datetime) -> dict[str, int]:
    """Sums of today's full hours, and of the same hours a week before (`…_before`)."""
    midnight = hour.replace(hour=0)
    last_week = (midnight - _WEEK, hour - _WEEK)
    # Hours are in order within a tenant, so an index finds those of each tenant.
    tenants = visible_to(CusIntegration.objects.all(), cast("CusUser", request.user))
    hours = CusUsageHourly.objects.filter(
        Q(hour__gte=midnight, hour__lt=hour) | Q(hour__gte=last_week[0], hour__lt=last_week[1]),
        tenant_id__in=set(tenants.values_list("tenant_id", flat=True)),
    )
    today, before = Q(hour__gte=midnight), Q(hour__lt=midnight)
    columns = {
        "exact": ("cost_microcents", "settled_cost_microcents", "correction_microcents"),
        "ran": ("calls",),
        "failed": ("errors",),
        "refused": ("blocked",),
    }
    sums = {
        f"{name}{end}": _sum(*of, only=only)
        for name, of in columns.items()
        for end, only in (("", today), ("_before", before))
    }
    return {name: int(value) for name, value in hours.aggregate(**sums).items()}


def _sum(*columns: str, only: Q | None = None) -> Coalesce:
    """The sum of columns over rows, 0 over none."""
    return Coalesce(Sum(reduce(add, map(F, columns)), filter=only), 0, output_field=DecimalField())


def this_month(request: HttpRequest, _subject: None) -> SafeString:
    """What the viewer's integrations cost this month, and will have cost at its end."""
    now = page_now(request)
    start, _ = month_of(now)
    seen: QuerySet[CusPeriodTotals] = visible_to(
        CusPeriodTotals.objects.filter(period=start.date()), cast("CusUser", request.user)
    )
    sums: list[dict[str, Any]] = [
        dict(one)
        for one in seen.values("tenant_id", "integration_id")
        .annotate(
            ran=Sum("calls"),
            failed=Sum("errors"),
            refused=Sum("blocked"),
            exact=Sum(F("cost_microcents") + F("correction_microcents")),
            counted=Sum("counted_cents"),
        )
        .order_by("-exact")
    ]
    dearest = sums[:_DEAREST]
    forecast_for = sums if len(sums) <= _MOST_FORECAST else dearest
    rest = rest_of_month([(one["tenant_id"], one["integration_id"]) for one in forecast_for], now)
    names = _integrations(one["integration_id"] for one in dearest)
    rows = [
        _month_row(link_to(names[one["integration_id"]]), one, rest.get(one["integration_id"]))
        for one in dearest
    ]
    if len(sums) > 1:
        whole = {name: sum(one[name] for one in sums) for name in _NUMBERS}
        ids = {one["integration_id"] for one in sums}
        of_all = sum(rest.values()) if ids == set(rest) else None
        rows.append(_month_row(f"All {len(sums):,} integrations", whole, of_all))
    return table(
        [
            *("Integration", "Calls", "Errors", "Refused", "Exact cost", "Forecast", "Counted"),
            "Rounding adds",
        ],
        rows,
        empty="No call was reported this month yet.",
        note=f"{start:%B %Y}, in UTC. Forecast is the exact cost at the month's end, from the same "
        "weekdays and hours of the last four weeks. Counted is what budgets on the rounded basis "
        "count: each call rounded up to a cent.",
    )


def _month_row(name: Cell, sums: dict[str, Any], rest: int | None) -> list[Cell]:
    counted = int(sums["counted"]) * MICROCENTS_PER_CENT
    exact = int(sums["exact"])
    return [
        name,
        f"{sums['ran']:,}",
        f"{sums['failed']:,}",
        f"{sums['refused']:,}",
        dollars(exact),
        _NO_FORECAST if rest is None else dollars(exact + rest),
        dollars(counted),
        dollars(counted - exact),
    ]


def unusual_hours(request: HttpRequest, _subject: None) -> SafeString:
    """The viewer's hours of the last seven days that cost far more than is usual."""
    seen: QuerySet[CusUsageAnomaly] = visible_to(
        CusUsageAnomaly.objects.filter(hour__gte=page_now(request) - _EVENTS_SHOWN_FOR),
        cast("CusUser", request.user),
    )
    events = list(seen.order_by("-hour", "integration_id", "subject", "name")[: _MOST_EVENTS + 1])
    names = _integrations(one.integration_id for one in events)
    return table(
        ["Hour (UTC)", "Integration", "Whose", "Cost", "Usual", "That is"],
        [_event_row(one, names[one.integration_id]) for one in events[:_MOST_EVENTS]],
        empty="No hour of the last seven days cost far more than its weekday and hour usually do.",
        note=f"The {_MOST_EVENTS} newest; there are more." if len(events) > _MOST_EVENTS else "",
    )


def _event_row(event: CusUsageAnomaly, integration: CusIntegration) -> list[Cell]:
    whose = event.get_subject_display()
    return [
        f"{event.hour.astimezone(UTC):%Y-%m-%d %H:00}",
        link_to(integration),
        f"{whose} {event.name}" if event.name else "All calls",
        dollars(event.cost_microcents),
        dollars(event.usual_microcents),
        event.text,
    ]


def _integrations(ids: Iterable[Any]) -> dict[Any, CusIntegration]:
    return CusIntegration.objects.select_related("tenant").in_bulk(list(ids))
