"""The console's read-only pages on facts."""

from collections.abc import Mapping
from datetime import timedelta
from importlib import import_module
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from aos_sdk.cus_cost import MICROCENTS_PER_CENT, CusTokenUsage
from integrations.cus_console import attention, finders, panels
from integrations.cus_console.amounts import dollars, exact_dollars
from integrations.cus_console.facts import CusFactsAdmin, Headline
from integrations.cus_console.finders import Finder
from integrations.cus_console.pages import EVERY_ROLE
from integrations.cus_console.panels import Cell, Page, Panel
from integrations.cus_integrations.admin import CusIntegrationAdmin
from integrations.cus_limits import uses
from telemetry.cus_analytics.attention import months_open_questions
from telemetry.cus_analytics.panels import figures_of_today, this_month, unusual_hours
from telemetry.cus_corrections.panels import corrections_of
from telemetry.cus_corrections.repricing import corrected_microcents
from telemetry.cus_evidence.call_fieldsets import FIELDSETS
from telemetry.cus_evidence.call_page import (
    LABELS,
    headline_of,
    how_the_cost_came_about,
    kept_price_in_words,
    link_of_fact,
    other_calls_of_session,
)
from telemetry.cus_evidence.console import CusEvidenceAdmin
from telemetry.cus_evidence.find_names import (
    WHERE_END_USERS,
    WHERE_NAMES,
    find_agents,
    find_end_users,
    find_sessions,
)
from telemetry.cus_evidence.list_filters import USAGE_FILTERS
from telemetry.cus_evidence.lookup import counted_cents
from telemetry.cus_evidence.models import CusLLMUsage, CusUsageSettlement
from telemetry.cus_evidence.panels import (
    WHERE_CALLS,
    answers_of,
    cost_shown,
    find_calls,
    last_calls,
    outcome_of,
    with_settled_cost,
)
from telemetry.cus_evidence.settlements import SAME_ANSWER
from telemetry.cus_holds.call_limits import limits_of_call
from telemetry.cus_holds.limits import holds_warning
from telemetry.cus_holds.nearest import budgets_near_their_end, nearest_their_budgets
from telemetry.cus_holds.panels import limit_bars
from telemetry.cus_holds.scoped_uses import uses_of
from telemetry.cus_reads.chart_panels import (
    blocked_by_day,
    cost_by_day,
    cost_by_day_in_short,
    dearest,
    dearest_sessions,
    latency_by_day,
    of_home,
    of_integration,
    tokens_by_kind,
)
from telemetry.cus_reads.month_panel import burn_down
from telemetry.cus_run_budgets.panels import budgets_in_code
from telemetry.cus_statements.panels import last_months

# Importing a module registers its pages.
for _pages in ("cus_corrections.admin", "cus_coverage.admin"):
    import_module(f"telemetry.{_pages}")
CusIntegrationAdmin.warnings.append(holds_warning)
uses.register(uses_of)
# The first page of support is the search, and what is not well.
_SEE_MONEY = ("operator", "finance", "admin", "member")
_OF_A_TENANT = ("admin", "member")
for _panel in (
    Panel(Page.HOME, "today", "Today and this month", _SEE_MONEY, figures_of_today),
    Panel(Page.HOME, "cost", "Cost a day", _SEE_MONEY, of_home(cost_by_day_in_short)),
    Panel(Page.HOME, "nearest", "Nearest their budget", _SEE_MONEY, nearest_their_budgets),
    Panel(Page.HOME, "month", "Cost this month", _SEE_MONEY, this_month),
    Panel(Page.HOME, "models", "Dearest models", _OF_A_TENANT, of_home(dearest("model"))),
    Panel(Page.HOME, "agents", "Dearest agents", _OF_A_TENANT, of_home(dearest("agent"))),
    Panel(Page.HOME, "unusual", "Unusual hours", _SEE_MONEY, unusual_hours),
    Panel(Page.HOME, "statements", "Statements", ("finance",), last_months, is_first=True),
    Panel(Page.INTEGRATION, "limits", "Use of the limits this month (UTC)", EVERY_ROLE, limit_bars),
    Panel(Page.INTEGRATION, "run-limits", "Budgets in code", EVERY_ROLE, budgets_in_code),
    Panel(Page.INTEGRATION, "budget", "The month", EVERY_ROLE, of_integration(burn_down)),
    Panel(Page.INTEGRATION, "cost", "Cost a day", EVERY_ROLE, of_integration(cost_by_day_in_short)),
    Panel(
        Page.INTEGRATION,
        "blocked",
        "Blocked and failed",
        EVERY_ROLE,
        of_integration(blocked_by_day),
    ),
    Panel(Page.INTEGRATION, "latency", "Latency", EVERY_ROLE, of_integration(latency_by_day)),
    Panel(Page.INTEGRATION, "calls", "Last calls", EVERY_ROLE, last_calls),
    Panel(Page.COST, "cost", "Cost a day", EVERY_ROLE, cost_by_day),
    Panel(Page.COST, "month", "The month", EVERY_ROLE, burn_down),
    Panel(Page.COST, "tokens", "Tokens by kind", EVERY_ROLE, tokens_by_kind),
    Panel(Page.COST, "blocked", "Blocked and failed", EVERY_ROLE, blocked_by_day),
    Panel(Page.COST, "latency", "Latency", EVERY_ROLE, latency_by_day),
    Panel(Page.COST, "integrations", "Dearest integrations", EVERY_ROLE, dearest("integration")),
    Panel(Page.COST, "models", "Dearest models", EVERY_ROLE, dearest("model")),
    Panel(Page.COST, "agents", "Dearest agents", EVERY_ROLE, dearest("agent")),
    Panel(Page.COST, "sessions", "Dearest sessions", EVERY_ROLE, dearest_sessions),
    Panel(Page.CALL, "price", "How the cost came about", EVERY_ROLE, how_the_cost_came_about),
    Panel(Page.CALL, "corrections", "Corrections", EVERY_ROLE, corrections_of),
    Panel(Page.CALL, "limits", "Limits of such calls", EVERY_ROLE, limits_of_call),
    Panel(Page.CALL, "session", "Other calls of the session", EVERY_ROLE, other_calls_of_session),
):
    panels.register(_panel)
# Kinds of tokens that most calls have none of.
_PARTS = frozenset(CusTokenUsage._fields) - {"tokens_in", "tokens_out"}
for _source in (budgets_near_their_end, months_open_questions):
    attention.register(_source)
for _finder in (
    Finder("Calls", EVERY_ROLE, find_calls, WHERE_CALLS),
    Finder("Sessions", EVERY_ROLE, find_sessions, WHERE_NAMES),
    Finder("Agents", EVERY_ROLE, find_agents, WHERE_NAMES),
    Finder("End users", EVERY_ROLE, find_end_users, WHERE_END_USERS),
):
    finders.register(_finder)


@admin.register(CusLLMUsage)
class CusLLMUsageAdmin(CusFactsAdmin, CusEvidenceAdmin):
    """Usage records, newest first."""

    list_display = (
        "received",
        "call_id",
        "integration_name",
        "model",
        "tokens",
        "exact_cost",
        "latency",
        "outcome",
    )
    list_display_links = ("received", "call_id")
    list_filter = (
        *CusEvidenceAdmin.base_filters,
        *USAGE_FILTERS,
        *CusEvidenceAdmin.fact_filters,
    )
    search_is_indexed = True
    export_columns = (
        *("created_at", "occurred_at", "call_id", "tenant_name", "integration_name"),
        *("provider", "model", "model_requested", "region", "operation", "stream"),
        *("session_id", "agent_id", "end_user", "tags"),
        *CusTokenUsage._fields,
        *("cost_in_dollars", "cost_cents", "counted", "pricing", "pricing_version"),
        *("outcome", "error_code", "latency_ms", "degraded", "flags"),
        *("response_id", "provider_request_id"),
    )
    search_fields = ("call_id__exact",)
    search_help_text = "A whole call id"
    fieldsets = FIELDSETS
    readonly_fields = ("corrected_cost", "counted", "settlement", "delay")
    panels_of = Page.CALL
    labels: ClassVar[Mapping[str, str]] = LABELS

    def headline(self, request: HttpRequest, row: Any) -> Headline:
        return headline_of(row)

    def link_of(self, request: HttpRequest, row: Any, name: str) -> str:
        return link_of_fact(request, row, name)

    def text_of(self, request: HttpRequest, row: Any, name: str) -> Cell:
        if name == "tenant_id":
            return str(self.tenant_name(row))
        if name == "integration_id":
            return str(self.integration_name(row))
        if name == "price_id":
            return kept_price_in_words(row.price_id)
        if name in ("policy_result", "pricing"):
            return str(getattr(row, f"get_{name}_display")())
        if name in _PARTS and not getattr(row, name):
            return ""
        text: Cell = super().text_of(request, row, name)
        return text

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_settled_cost(super().get_queryset(request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Rows of a call id; also the row of the answer of a call that has none of its own."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        answers = answers_of(request, search_term)
        if answers:
            found = queryset.filter(Q(call_id=search_term.strip()) | answers)
        return found, may_repeat

    @display(description="Tokens")
    def tokens(self, usage: CusLLMUsage) -> str:
        return f"{usage.tokens_in:,} in, {usage.tokens_out:,} out"

    @display(description="Latency")
    def latency(self, usage: CusLLMUsage) -> str:
        return "" if usage.latency_ms is None else f"{usage.latency_ms:,} ms"

    @display(description="Exact cost (US dollars)")
    def cost_in_dollars(self, usage: Any) -> str:
        """For the export: a number that a spreadsheet adds up; empty if the cost is not known."""
        settled = usage.settled_microcents
        if settled is None and usage.pricing in (usage.Pricing.UNKNOWN, usage.Pricing.UNMEASURED):
            return ""
        return (
            exact_dollars(usage.cost_microcents if settled is None else settled)
            .replace("$", "")
            .replace(",", "")
        )

    @display(description="Rounded up, as limits count it")
    def counted(self, usage: CusLLMUsage) -> str:
        return dollars(counted_cents(usage) * MICROCENTS_PER_CENT)

    @display(description="Received after it began")
    def delay(self, usage: CusLLMUsage) -> str:
        """Also tells how far the program's clock is from ours, if it is ahead."""
        delay = usage.created_at - usage.occurred_at
        if abs(delay) < timedelta(minutes=2):
            return f"{delay.total_seconds():,.1f} s"
        return str(timedelta(seconds=round(delay.total_seconds())))

    @display(description="Exact, as settled and corrected")
    def corrected_cost(self, usage: CusLLMUsage) -> str:
        corrected = corrected_microcents(usage)
        return "" if corrected == usage.cost_microcents else exact_dollars(corrected)

    @display(description="Exact cost")
    def exact_cost(self, usage: CusLLMUsage) -> str:
        return cost_shown(usage)

    @display(description="Settled by")
    def settlement(self, usage: CusLLMUsage) -> str:
        if usage.pricing != CusLLMUsage.Pricing.UNMEASURED:
            return ""
        settled = CusUsageSettlement.objects.filter(tenant_id=usage.tenant_id, usage_id=usage.id)
        found = settled.first()
        if found is None:
            return "not yet: budgets count the provisional amounts"
        if SAME_ANSWER in found.flags:
            return f"{found.call_id}: another call names the same answer and counts its usage"
        return (
            f"{found.tokens_in:,} tokens in, {found.tokens_out:,} out, "
            f"{exact_dollars(found.cost_microcents)} on {found.created_at:%d %B %Y}"
        )

    @display(
        description="Outcome",
        label={"ok": "success", "failed": "danger", "blocked": "danger", "warned": "warning"},
    )
    def outcome(self, usage: CusLLMUsage) -> tuple[str, str]:
        return outcome_of(usage)
