"""Panels and search results on usage records."""

from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any, cast

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.amounts import exact_dollars
from integrations.cus_console.finders import MOST_OF_A_KIND, Hit, integration_in
from integrations.cus_console.panels import Cell, table, with_link
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusCallAlias, CusLLMUsage, CusUsageSettlement

_LAST_CALLS = 10
# Integrations that have a call of the same id; beyond these a search is no search for one call.
_MOST_ALIASES = 50
# Shorter beginnings of a call id would match half of the table.
_SHORTEST_BEGINNING = 6
WHERE_CALLS = f"by their whole id, or at least its first {_SHORTEST_BEGINNING} characters"
_WITHOUT_COST: dict[str, str] = {
    CusLLMUsage.Pricing.UNKNOWN: "no price known",
    CusLLMUsage.Pricing.UNMEASURED: "usage not known",
}


def with_settled_cost(rows: QuerySet[Any]) -> QuerySet[Any]:
    """The rows with the cost that became known later, as `settled_microcents`; None without."""
    settled = CusUsageSettlement.objects.filter(
        tenant_id=OuterRef("tenant_id"), usage_id=OuterRef("id")
    )
    cost = Subquery(settled.values("cost_microcents")[:1])
    with_cost: QuerySet[Any] = rows.annotate(settled_microcents=cost)
    return with_cost


def cost_shown(usage: Any) -> str:
    """The exact cost of a row of `with_settled_cost`, or why there is none."""
    if usage.settled_microcents is not None:
        return exact_dollars(usage.settled_microcents)
    return _WITHOUT_COST.get(usage.pricing) or exact_dollars(usage.cost_microcents)


def outcome_of(usage: CusLLMUsage) -> tuple[str, str]:
    """How a call ended: `ok`, `warned`, `failed` or `blocked`, and the text to show."""
    if usage.policy_result == "blocked":
        return "blocked", usage.error_code or "blocked"
    if usage.error_code:
        return "failed", usage.error_code
    return ("warned", "warned") if usage.policy_result == "warned" else ("ok", "ok")


def answers_of(request: HttpRequest, call_id: str) -> Q | None:
    """The rows of the answer of calls that have none of their own; None where there are none."""
    call_id = call_id.strip()
    if "\0" in call_id:
        return None
    aliases = CusCallAlias.objects.filter(call_id=call_id)
    places = visible_to(aliases, cast("CusUser", request.user))[:_MOST_ALIASES]
    rows = [Q(created_at=one.usage_created_at, id=one.usage_id) for one in places]
    return reduce(or_, rows) if rows else None


def last_calls(_request: HttpRequest, integration: CusIntegration) -> SafeString:
    """The newest records of an integration."""
    stored = CusLLMUsage.objects.filter(
        tenant_id=integration.tenant_id, integration_id=integration.id
    ).order_by("-created_at", "-id")
    rows = with_settled_cost(stored)[:_LAST_CALLS]
    shown = table(
        ["Received", "Call", "Model", "Tokens in", "Tokens out", "Cost", "Outcome"],
        map(_call, rows),
        empty="No call was reported yet. Issue an SDK key, and let the program report with it.",
    )
    return with_link(shown, calls_page(integration=str(integration.id)), "All calls")


def calls_page(**filters: str) -> str:
    """The address of the list of usage records with these filters."""
    return f"{reverse('admin:telemetry_cusllmusage_changelist')}?{urlencode(filters)}"


def _call(usage: Any) -> list[Cell]:
    return [
        str(localize(usage.created_at)),
        format_html('<a href="{}" class="underline">{}</a>', record_page(usage), usage.call_id),
        usage.model,
        f"{usage.tokens_in:,}",
        f"{usage.tokens_out:,}",
        cost_shown(usage),
        outcome_of(usage)[1],
    ]


def record_page(usage: CusLLMUsage) -> str:
    """The address of a record's page."""
    return reverse("admin:telemetry_cusllmusage_change", args=[usage.id])


def find_calls(request: HttpRequest, text: str) -> Iterator[Hit]:
    """Records by their call id, whole or by its beginning, whatever its case."""
    seen: QuerySet[CusLLMUsage] = visible_to(
        CusLLMUsage.objects.all(), cast("CusUser", request.user)
    )
    if within := integration_in(request):
        seen = seen.filter(integration_id=within)
    # Ids are kept as sent. Who copies an id from a mail may have it in other letters.
    for name in dict.fromkeys((text, text.lower(), text.upper())):
        rows = _named(request, seen, name)
        if rows:
            yield from (_hit(row, is_exact=row.call_id == name) for row in rows)
            return


def _named(request: HttpRequest, seen: QuerySet[CusLLMUsage], name: str) -> list[CusLLMUsage]:
    """The rows of this call id; else of ids that begin with it, else of the call's answer."""
    rows = list(seen.filter(call_id=name)[: MOST_OF_A_KIND + 1])
    if not rows and len(name) >= _SHORTEST_BEGINNING:
        beginning = seen.filter(call_id__startswith=name).order_by("call_id")
        rows = list(beginning[: MOST_OF_A_KIND + 1])
    answers = None if rows else answers_of(request, name)
    return list(seen.filter(answers)) if answers else rows


def _hit(usage: CusLLMUsage, *, is_exact: bool) -> Hit:
    about = f"{usage.created_at:%Y-%m-%d %H:%M:%S} UTC, {usage.model}, {outcome_of(usage)[1]}"
    return Hit(usage.call_id, about, record_page(usage), is_exact)
