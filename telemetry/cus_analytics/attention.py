"""What of the month's evidence needs attention: calls without a price, and costs that differ."""

from collections.abc import Iterator
from typing import Any, cast

from django.db.models import Q, QuerySet, Sum
from django.http import HttpRequest
from django.utils.safestring import SafeString

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.attention import MOST_OF_A_SOURCE, Problem, Weight, calls
from integrations.cus_console.own_page import Link
from integrations.cus_integrations.panels import link_to
from integrations.cus_lifecycle.limits import month_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import page_now
from telemetry.cus_evidence.models import CusPeriodTotals
from telemetry.cus_evidence.panels import calls_page

# The sum of a month: its weight, the words, and the filter of the list of calls.
_SUMS = {
    "without_price": (
        Weight.MONEY_UNKNOWN,
        ("has no known price", "have no known price"),
        {"pricing": "unknown"},
    ),
    "of_unknown_usage": (
        Weight.MONEY_UNKNOWN,
        (
            "is of unknown usage",
            "are of unknown usage",
        ),
        {"pricing": "unmeasured"},
    ),
    "with_other_cost": (
        Weight.EVIDENCE,
        ("reports another cost than ours", "report another cost than ours"),
        {"flag": "cost_mismatch"},
    ),
    "with_other_tokens": (
        Weight.EVIDENCE,
        ("reports tokens that do not add up", "report tokens that do not add up"),
        {"flag": "tokens_mismatch"},
    ),
}


def months_open_questions(request: HttpRequest) -> Iterator[Problem]:
    """An integration's calls of this month whose cost is unknown or differs."""
    month = month_of(page_now(request))[0].date()
    seen: QuerySet[Any] = visible_to(
        CusPeriodTotals.objects.filter(period=month), cast("CusUser", request.user)
    )
    sums = seen.values("integration_id").annotate(
        without_price=Sum("unpriced"),
        of_unknown_usage=Sum("unmeasured") - Sum("settled"),
        with_other_cost=Sum("cost_mismatches"),
        with_other_tokens=Sum("tokens_mismatches"),
    )
    asked = Q.create([Q((f"{name}__gt", 0)) for name in _SUMS], connector=Q.OR)
    rows = list(sums.filter(asked).order_by("-without_price", "integration_id")[:MOST_OF_A_SOURCE])
    named = CusIntegration.objects.select_related("tenant").in_bulk(
        [row["integration_id"] for row in rows]
    )
    for row in rows:
        one = named[row["integration_id"]]
        for name, (weight, words, only) in _SUMS.items():
            if row[name] > 0 and one.deleted_at is None:
                text = f"{calls(row[name], *words)} this month"
                yield Problem(weight, link_to(one, "calls"), text, _calls(one, only))


def _calls(one: CusIntegration, only: dict[str, str]) -> SafeString:
    page = calls_page(integration=str(one.id), received="31", **only)
    return Link("Look at the calls", page).html
