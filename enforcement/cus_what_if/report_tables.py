"""A simulation's report as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.proposals import scoped_limits_of
from enforcement.cus_what_if.report import LISTED, RESULTS
from integrations.cus_console.amounts import dollars
from integrations.cus_console.panels import Cell, ShownPanel, table
from integrations.cus_lifecycle.limits import LIMITS, Limit, Unit
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.words import amount_text, whose_text, window_text

_Json = Mapping[str, Any]
# The page lists fewer calls than the report has: on a telephone each takes half a screen.
_SHOWN = 10
_MOST = 50
_NOBODY = "No call of these days."
_WHY = {
    "lease": "admitted by a lease, not by a check",
    "degraded": "admitted while the server was away",
    "unchecked": "ran without a check",
    "in_flight": "ran beside other calls, whose holds come and go",
    "limits": "decided by limits alone",
}
_NOT_JUDGED = {
    "contention": "refused because the service was busy",
    "hard_blocked": "refused for the integration's state",
    "by_sdk": "refused by the program itself",
}


def sections(simulation: CusSimulation) -> list[ShownPanel]:
    """The report's parts; what was proposed alone, until there is a report."""
    shown = [ShownPanel("proposed", "Proposed limits", _proposed(simulation.proposal))]
    report: _Json | None = simulation.result
    if report is None:
        return shown
    parts = (
        ("sums", "What would have happened", _sums(report)),
        ("reasons", "Why", _reasons(report["reasons"])),
        ("limits", "By which limit", _limits(report.get("limits", ()), report.get("notes", ()))),
        ("days", "By day (UTC)", _days(report["days"])),
        ("models", "Models that would have been refused", _models(report["refused_models"])),
        ("differences", "What was decided otherwise", _differences(report)),
        ("calls", "The first calls", _calls(report["listed"])),
    )
    return [*shown, *(ShownPanel(*part) for part in parts)]


def _proposed(proposal: _Json) -> SafeString:
    level = CusIntegration.EnforcementLevel(proposal["enforcement_level"]).label
    basis = CusIntegration.BudgetBasis(proposal["budget_basis"]).label
    limits = [[_name(limit), _value(limit, proposal[limit.column])] for limit in LIMITS]
    unpriced = "allowed" if proposal["allow_unpriced"] else "refused under a budget"
    rows = [*limits, ["Budget basis", basis], ["Level", level], ["Unpriced models", unpriced]]
    scoped = scoped_limits_of(proposal)
    rows += [[_scoped_name(one), amount_text(one["unit"], one["amount"])] for one in scoped[:_MOST]]
    note = f"And {len(scoped) - _MOST:,} more limits at scopes." if len(scoped) > _MOST else ""
    return table(["Limit", "Value"], rows, empty="", note=note)


def _scoped_name(limit: _Json) -> str:
    whose = whose_text(limit["scope"], limit["tag"], limit["value"])
    return f"{whose}, {window_text(limit['window'])}".capitalize()


def _name(limit: Limit) -> str:
    return limit.label.removesuffix(" (cents)").capitalize()


def _value(limit: Limit, value: int) -> str:
    if not value:
        return "no limit"
    return dollars(value * MICROCENTS_PER_CENT) if limit.unit is Unit.CENTS else f"{value:,}"


def _sums(report: _Json) -> SafeString:
    rows = [
        [result.value, f"{report['were'][result.value]:,}", *_money(report["would_be"][result])]
        for result in RESULTS
    ]
    saved, let_in = report["not_spent"], report["would_run_now"]
    note = (
        f"{dollars(saved['cost_microcents'])} would not have been spent "
        f"({dollars(saved['counted_cents'] * MICROCENTS_PER_CENT)} as budgets in cents count)."
    )
    if let_in["calls"]:
        note += (
            f" {let_in['calls']:,} calls that were refused would have run, for at most "
            f"{dollars(let_in['cost_microcents'])}."
        )
    headers = ["Result", "Calls then", "Calls by the proposal", "Their exact cost", "Counted"]
    return table(headers, rows, empty=_NOBODY, note=note)


def _money(sums: _Json) -> list[Cell]:
    return [
        f"{sums['calls']:,}",
        dollars(sums["cost_microcents"]),
        dollars(sums["counted_cents"] * MICROCENTS_PER_CENT),
    ]


def _reasons(reasons: Sequence[_Json]) -> SafeString:
    rows = [
        [one["code"].replace("_", " "), one["limit_type"] or "", f"{one['calls']:,}"]
        for one in reasons
    ]
    empty = "Every call would have been allowed, without a warning."
    return table(["Reason", "Limit", "Calls"], rows, empty=empty)


def _limits(limits: Sequence[_Json], notes: Sequence[str]) -> SafeString:
    rows = [[_limit_name(one), *_decided(one), _values(one)] for one in limits[:_MOST]]
    headers = ["Limit", "Warned", "Throttled", "Blocked", "Not spent", "Most of it by"]
    about = "A call counts for the first limit that found something."
    return table(headers, rows, empty="No limit.", note=" ".join([about, *notes]))


def _limit_name(limit: _Json) -> str:
    if limit["limit"]:
        return next(_name(one) for one in LIMITS if one.column == limit["limit"])
    return f"{amount_text(limit['unit'], limit['amount'])}: {_scoped_name(limit)}"


def _decided(limit: _Json) -> list[Cell]:
    refused = limit["throttled"]["cost_microcents"] + limit["blocked"]["cost_microcents"]
    calls = [f"{limit[word]['calls']:,}" for word in ("warned", "throttled", "blocked")]
    return [*calls, dollars(refused)]


def _values(limit: _Json) -> str:
    return ", ".join(
        f"{one['value']} ({dollars(one['cost_microcents'])})" for one in limit["refused_values"][:3]
    )


def _days(days: Sequence[_Json]) -> SafeString:
    rows = [
        [
            one["day"],
            *(f"{one[result]['calls']:,}" for result in RESULTS),
            dollars(one["throttled"]["cost_microcents"] + one["blocked"]["cost_microcents"]),
        ]
        for one in days
    ]
    headers = ["Day", *(result.value.capitalize() for result in RESULTS), "Not spent"]
    return table(headers, rows, empty=_NOBODY)


def _models(models: Sequence[_Json]) -> SafeString:
    rows = [[one["model"] or "(none named)", *_money(one)] for one in models]
    return table(["Model", "Calls", "Exact cost", "Counted"], rows, empty="None.")


def _calls(calls: Sequence[_Json]) -> SafeString:
    shown = [
        one
        for result in RESULTS
        for one in [call for call in calls if call["would_be"] == result][:_SHOWN]
    ]
    rows = [
        [
            one["decided_at"][:19].replace("T", " "),
            _link(one),
            one["model"] or "",
            f"{one['was']} → {one['would_be']}",
            one["message"],
            dollars(one["cost_microcents"]),
        ]
        for one in shown
    ]
    headers = ["Decided (UTC)", "Call", "Model", "Was → would be", "Because", "Cost"]
    note = f"At most the first {_SHOWN} of each result; the API lists {LISTED}."
    return table(headers, rows, empty="None.", note=note)


def _link(call: _Json) -> Cell:
    if call["usage_id"] is None:
        return str(call["call_id"])
    address = reverse("admin:telemetry_cusllmusage_change", args=[call["usage_id"]])
    return format_html('<a href="{}" class="underline">{}</a>', address, call["call_id"])


def _differences(report: _Json) -> SafeString:
    causes: Mapping[str, int] = report["differences"]["causes"]
    rows = [[_WHY[cause], f"{calls:,}"] for cause, calls in causes.items()]
    others = [f"{n:,} {_NOT_JUDGED[why]}" for why, n in report["not_judged"].items()]
    note = f"Not decided again: {'; '.join(others)}." if others else ""
    if report["without_estimate"]:
        note += (
            f" For {report['without_estimate']:,} calls nothing was held, so what they used "
            "stands for their estimate: a check holds more, and refuses earlier."
        )
    empty = "Every call would have been decided as it was."
    return table(["How it had been", "Calls decided otherwise"], rows, empty=empty, note=note)
