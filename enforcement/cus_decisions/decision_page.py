"""The page of a decision: what happened and what to do, the ladder, the figures, decided again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from aos_sdk.cus_wire import CusEnforcementResult as Result
from enforcement.cus_decisions.explain import TITLES, explain, title_of
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_decisions.panels import because
from enforcement.cus_rules.at_scopes import whose, written
from enforcement.cus_rules.facts import Authority, Facts, Usage, facts_of
from enforcement.cus_rules.scoped import ScopedFact
from integrations.cus_console.amounts import dollars, exact_dollars
from integrations.cus_console.facts import Headline, as_json
from integrations.cus_console.panels import Cell, table
from integrations.cus_lifecycle.limits import LIMITS, Limit, Unit
from telemetry.cus_money.amounts import Amounts

_TONES: Final = {Result.ALLOWED: "good", Result.WARNED: "warning", Result.THROTTLED: "warning"}
RESULTS: Final = {
    Result.ALLOWED: "Allowed",
    Result.WARNED: "Warned",
    Result.THROTTLED: "Told to wait",
    Result.BLOCKED: "Blocked",
    Result.HARD_BLOCKED: "Blocked at every level",
}
# Where the checks have all passed.
_LAST_STEP: Final = 9


@dataclass(frozen=True)
class Step:
    """A step of the ladder: `passed`, `decided` or `not reached`, and the class of its colour."""

    number: int
    title: str
    state: str
    icon: str
    style: str = ""
    text: str = ""


def headline_of(decision: CusEnforcementDecision) -> Headline:
    """What happened, and what to do."""
    result = Result(decision.result)
    first = decision.reasons[0] if decision.reasons else None
    action = first.get("action") if isinstance(first, dict) else None
    return Headline(
        f"{RESULTS[result]}: {because(decision)}",
        action.rstrip(".") if isinstance(action, str) else "",
        _TONES.get(result, "bad"),
    )


def ladder(_request: HttpRequest, decision: CusEnforcementDecision) -> SafeString:
    """The steps in their order, with the step that decided."""
    context = {"steps": list(_steps(decision)), "is_known": decision.step is not None}
    return render_to_string("admin/cus_ladder.html", context)


def _steps(decision: CusEnforcementDecision) -> Iterator[Step]:
    decided = decision.step
    for number, title in sorted(TITLES.items()):
        if number == decided:
            title = title_of(decision) or title
        name = f"{title[:1].upper()}{title[1:]}"
        if decided is None or number > decided:
            yield Step(number, name, "not reached", "remove")
        elif number < decided or number == _LAST_STEP:
            yield Step(number, name, "passed", "check", "cus-good")
        else:
            tone = _TONES.get(Result(decision.result), "bad")
            icon = "block" if tone == "bad" else "priority_high"
            yield Step(number, name, "decided", icon, f"cus-decided cus-{tone}", because(decision))


def figures(_request: HttpRequest, decision: CusEnforcementDecision) -> SafeString:
    """What was used, held and lent of each limit when the call was decided."""
    facts = known_facts(decision)
    if facts is None:
        return table([], [], empty="The program decided by itself; its facts are below.")
    authority, usage = facts.authority, facts.usage
    if authority is None or usage is None:
        why = "The usage was not read: " + (
            "the integration was too busy." if facts.contended else "the database was away."
        )
        return table([], [], empty=why)
    rows = [row for limit in LIMITS if (row := _row(facts, authority, usage, limit))]
    rows += [_row_at_scope(facts, limit) for limit in facts.limits]
    return table(
        [
            *("Limit", "At most", "Used", "Held by running calls", "Lent", "Others may take"),
            *("This call", "Together"),
        ],
        rows,
        empty="The integration had no limit.",
        note=_note(facts, authority),
    )


def _note(facts: Facts, authority: Authority) -> str:
    basis = "exact costs" if authority.is_exact else "costs that are rounded up, call by call"
    level = authority.enforcement_level.replace("_", " ")
    return (
        f"Level: {level}. The budget goes by {basis}. A warning begins at "
        f"{facts.policy.warning_percent} %. The month is that of UTC."
    )


def _row(facts: Facts, authority: Authority, usage: Usage, limit: Limit) -> list[Cell] | None:
    most: int = getattr(authority, limit.column)
    if not most:
        return None
    title = limit.label.removesuffix(" (cents)")
    name = f"{title[:1].upper()}{title[1:]}"
    if limit.unit is Unit.CALLS:
        admitted: int = getattr(usage, limit.admissions)
        shown = [f"{one:,} calls" for one in (most, admitted)]
        return [name, *shown, "", "", "", "1 call", f"{admitted + 1:,} calls"]
    parts = (usage.used, usage.held, usage.leased, facts.estimate)
    amounts = [_amount(one, limit, authority) for one in parts]
    write = _writer(limit, authority)
    scale = MICROCENTS_PER_CENT if limit.unit is Unit.CENTS and authority.is_exact else 1
    written = [write(amount) for amount in amounts]
    return [name, write(most * scale), *written[:-1], "", written[-1], write(sum(amounts))]


def _row_at_scope(facts: Facts, limit: ScopedFact) -> list[Cell]:
    measure = limit.measure(facts.estimate)
    parts = (limit.used, limit.held, limit.leased, limit.elsewhere, measure.estimate)
    over = limit.window.over
    name = f"{whose(limit)}, {over}"
    shown = [written(limit, amount) for amount in (limit.amount, *parts, sum(parts))]
    if not limit.is_shared:
        shown[4] = ""
    return [f"{name[:1].upper()}{name[1:]}", *shown]


def _amount(amounts: Amounts, limit: Limit, authority: Authority) -> int:
    if limit.unit is Unit.TOKENS:
        return amounts.tokens
    return amounts.microcents if authority.is_exact else amounts.cents


def _writer(limit: Limit, authority: Authority) -> Any:
    if limit.unit is Unit.TOKENS:
        return "{:,} tokens".format
    return exact_dollars if authority.is_exact else _dollars_of_cents


def _dollars_of_cents(cents: int) -> str:
    return dollars(cents * MICROCENTS_PER_CENT)


def decided_again(_request: HttpRequest, decision: CusEnforcementDecision) -> SafeString:
    """The decision made again now on the stored facts, and what would have changed it."""
    explained = explain(decision)
    mark = "good" if explained.identical else "bad" if explained.identical is False else ""
    verdict = format_html(
        '<p class="cus-verdict cus-{}">Decided again now on the stored facts: <strong>{}</strong>.</p>',
        mark or "open",
        explained.verdict,
    )
    if not explained.changes:
        return verdict
    items = format_html_join("", "<li>{}</li>", ((one,) for one in explained.changes))
    return format_html(
        '{}<p class="mt-3">The result would have been another with:</p><ul class="cus-list">{}</ul>',
        verdict,
        items,
    )


def other_reasons(_request: HttpRequest, decision: CusEnforcementDecision) -> SafeString | None:
    """The reasons beside the first; None if there are none."""
    rows = [
        [one.get("message") or one.get("code", ""), one.get("action") or ""]
        for one in decision.reasons[1:]
        if isinstance(one, dict)
    ]
    return table(["Also", "What to do"], rows, empty="") if rows else None


def stored_json(_request: HttpRequest, decision: CusEnforcementDecision) -> SafeString:
    """Reasons and facts as they are stored, behind a click."""
    return format_html(
        '<details><summary class="cursor-pointer underline">Show reasons and facts as JSON</summary>{}'
        "</details>",
        as_json({"reasons": decision.reasons, "facts": decision.facts}),
    )


def known_facts(decision: CusEnforcementDecision) -> Facts | None:
    """The facts in the server's form; None for those of an SDK."""
    try:
        return facts_of(decision.facts)
    except msgspec.ValidationError:
        return None
