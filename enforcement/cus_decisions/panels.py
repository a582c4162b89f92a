"""Panels and search results on decisions."""

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, cast
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString

from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.attention import MOST_OF_A_SOURCE, Problem, Weight, calls
from integrations.cus_console.charts import Chart, Kind, Series, Unit, drawn
from integrations.cus_console.finders import MOST_OF_A_KIND, Hit, integration_in
from integrations.cus_console.own_page import Link
from integrations.cus_console.panels import Cell, table, with_link
from integrations.cus_integrations.panels import integration_page, link_to
from integrations.cus_integrations.scopes import UsageScope
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import page_now
from telemetry.cus_evidence.console import row_by_id
from telemetry.cus_evidence.models import CusLLMUsage

_LAST = 10
_KEPT = "_cus_refused_lately"
_REFUSED = [Result.THROTTLED.value, Result.BLOCKED.value, Result.HARD_BLOCKED.value]
# More decisions of an hour are not read: the panel then says "more than".
_MOST_COUNTED = 1_000
# More decisions of some days are not read: the chart then says so.
_MOST_CHARTED = 20_000
_CHARTED = {
    Result.WARNED.value: "Warned",
    Result.THROTTLED.value: "Told to wait",
    Result.BLOCKED.value: "Blocked",
    Result.HARD_BLOCKED.value: "Blocked at every level",
}


def last_refusals(_request: HttpRequest, integration: CusIntegration) -> SafeString:
    """The newest calls of an integration that were refused, in words."""
    rows = CusEnforcementDecision.objects.filter(
        tenant_id=integration.tenant_id, integration_id=integration.id
    )
    return _last_refusals(rows, f"?integration={integration.id}")


def last_refusals_of_tenant(request: HttpRequest, _subject: None) -> SafeString:
    """The newest calls of a person's tenant that were refused, in words."""
    return _last_refusals(_seen(request), "")


def _last_refusals(decisions: QuerySet[CusEnforcementDecision], query: str) -> SafeString:
    rows = decisions.filter(result__in=_REFUSED).order_by("-created_at", "-id")[:_LAST]
    shown = table(
        ["Decided", "Call", "Result", "Because"],
        map(_refusal, rows),
        empty="No call was refused.",
    )
    every = reverse("admin:enforcement_cusenforcementdecision_changelist")
    return with_link(shown, f"{every}{query}", "All decisions")


def decisions_on_call(_request: HttpRequest, usage: CusLLMUsage) -> SafeString:
    """The decisions on the call of a usage record, newest first."""
    rows = CusEnforcementDecision.objects.filter(
        tenant_id=usage.tenant_id, integration_id=usage.integration_id, call_id=usage.call_id
    ).order_by("-created_at", "-id")[:_LAST]
    return table(
        ["Decided", "Call", "Result", "Because"],
        map(_refusal, rows),
        empty="Nothing but a plain “allowed”, or the program asked for no decision. Plain decisions "
        "are counted, and not kept one by one.",
    )


def _refusal(decision: CusEnforcementDecision) -> list[Cell]:
    link = format_html(
        '<a href="{}" class="underline">{}</a>', decision_page(decision), decision.call_id
    )
    return [
        str(localize(decision.created_at)),
        link,
        decision.result.replace("_", " "),
        because(decision),
    ]


def because(decision: CusEnforcementDecision) -> str:
    """The first reason's sentence; the SDK's reasons may have any form."""
    first: Any = decision.reasons[0] if decision.reasons else None
    message = first.get("message") if isinstance(first, dict) else None
    return message if isinstance(message, str) else decision.reason.replace("_", " ")


def decision_page(decision: CusEnforcementDecision) -> str:
    """The address of a decision's page."""
    return reverse("admin:enforcement_cusenforcementdecision_change", args=[decision.id])


def blocked_lately(request: HttpRequest) -> Iterator[Problem]:
    """The integrations of which calls were refused within the last hour."""
    rows = _refused_lately(request)
    counted = Counter(integration_id for integration_id, _ in rows)
    named = CusIntegration.objects.select_related("tenant").in_bulk(list(counted))
    for integration_id, count in counted.most_common(MOST_OF_A_SOURCE):
        one = named[integration_id]
        if one.deleted_at is None:
            text = calls(count, "was refused", "were refused") + " within the last hour"
            link = f"{integration_page(one.id)}#refusals"
            action = Link("Look at the refusals", link).html
            yield Problem(Weight.REFUSING, link_to(one, "refusals"), text, action)


def _refused_lately(request: HttpRequest) -> list[tuple[UUID, str]]:
    """Integration and reason of the last hour's refusals: at most one more than are counted."""
    kept: list[tuple[UUID, str]] | None = getattr(request, _KEPT, None)
    if kept is None:
        since = page_now(request) - timedelta(hours=1)
        rows = _seen(request).filter(created_at__gte=since, result__in=_REFUSED)
        kept = list(rows.values_list("integration_id", "reason")[: _MOST_COUNTED + 1])
        setattr(request, _KEPT, kept)
    return kept


def refused_lately(request: HttpRequest, _subject: None) -> SafeString:
    """The last hour's refusals by integration and reason, most first."""
    rows = _refused_lately(request)
    counted = Counter(rows).most_common(_LAST)
    names = CusIntegration.objects.select_related("tenant").in_bulk(
        [integration_id for (integration_id, _), _ in counted]
    )
    more = f"More than {_MOST_COUNTED:,} calls were refused; the newest were counted."
    return table(
        ["Integration", "Reason", "Refused calls"],
        [
            [link_to(names[integration_id], "refusals"), reason.replace("_", " "), f"{count:,}"]
            for (integration_id, reason), count in counted
        ],
        empty="No call was refused in the last hour.",
        note=more if len(rows) > _MOST_COUNTED else "",
    )


def refused_by_day(request: HttpRequest, scope: UsageScope) -> SafeString:
    """The decisions of each day that warned, throttled or blocked a call of a tenant."""
    if scope.tenant is None:
        # No index has the order of all tenants' decisions.
        return table([], [], empty="Choose a tenant to see what its checks refused.")
    today = scope.now.astimezone(scope.zone).date()
    days = [today - timedelta(days=number) for number in reversed(range(scope.days))]
    rows = _seen(request).filter(
        tenant_id=scope.tenant.id, created_at__gte=scope.now - timedelta(days=scope.days)
    )
    if scope.integration:
        rows = rows.filter(integration_id=scope.integration.id)
    newest = rows.order_by("-created_at").values("created_at", "result")[:_MOST_CHARTED]
    found: Counter[tuple[date, str]] = Counter()
    for one in newest:
        found[one["created_at"].astimezone(scope.zone).date(), one["result"]] += 1
    is_cut = found.total() == _MOST_CHARTED
    return drawn(
        Chart(
            Kind.STACKED_BARS,
            Unit.COUNT,
            f"Calls a day that a check warned of, told to wait, or refused ({scope.zone.key}).",
            "Day",
            [f"{day.day} {day:%b}" for day in days],
            [
                Series(title, [found[day, result] for day in days])
                for result, title in _CHARTED.items()
            ],
            "No check of these days warned, throttled or refused.",
            f"Only the newest {_MOST_CHARTED:,} decisions are counted." if is_cut else "",
        )
    )


def find_decisions(request: HttpRequest, text: str) -> Iterator[Hit]:
    """Decisions by their id or by their call's: a refused call may have no record of its usage."""
    seen = _seen(request)
    if within := integration_in(request):
        seen = seen.filter(integration_id=within)
    found = seen.filter(call_id__in={text, text.lower(), text.upper()}).order_by("-created_at")
    rows = list(found[: MOST_OF_A_KIND + 1]) or [row_by_id(seen, text)]
    for decision in filter(None, rows):
        about = f"{decision.created_at:%Y-%m-%d %H:%M:%S} UTC: {because(decision)}"
        title = f"{decision.call_id}, {decision.result.replace('_', ' ')}"
        yield Hit(title, about, decision_page(decision), is_exact=True)


def _seen(request: HttpRequest) -> QuerySet[CusEnforcementDecision]:
    return visible_to(CusEnforcementDecision.objects.all(), cast("CusUser", request.user))
