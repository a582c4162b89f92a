"""The page of a usage record: its headline, its links, and the panels on cost and session."""

import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console.amounts import dollars, exact_dollars
from integrations.cus_console.facts import Figure, Headline
from integrations.cus_console.panels import Cell, table, with_link
from integrations.cus_integrations.panels import integration_page
from telemetry.cus_evidence.lookup import counted_cents
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.panels import calls_page, cost_shown, outcome_of, record_page
from telemetry.cus_money.cost_parts import CostPart, cost_parts
from telemetry.cus_money.models import CusKeptPrice

_TOKEN_LABELS: Final = {
    "tokens_in": "in",
    "tokens_out": "out",
    "tokens_cached": "read from the cache (of in)",
    "tokens_cache_write": "written to the cache (of in)",
    "tokens_cache_write_1h": "written to the cache for an hour (of in)",
    "tokens_reasoning": "reasoning (of out)",
    "tokens_audio_in": "audio in (of in)",
    "tokens_audio_out": "audio out (of out)",
    "tokens_image_in": "images (of in)",
    "tokens_total": "in all, as the answer says",
}
# What the fields of a record are called where the model's own words are those of programs.
LABELS: Final[Mapping[str, str]] = {
    "policy_result": "let through as",
    "error_code": "error",
    "error_message": "what the program said of it",
    "degraded": "without a look at its limits",
    "latency_ms": "latency",
    "tenant_id": "tenant",
    "integration_id": "integration",
    "agent_id": "agent",
    "session_id": "session",
    **_TOKEN_LABELS,
    "cost_microcents": "exact, as recorded",
    "cost_cents": "rounded up, as reported",
    "pricing": "price from",
    "pricing_version": "version of the price",
    "price_id": "kept price",
    "reported_pricing_version": "version of the price in the program",
    "provider_cost_microcents": "as the provider's answer says",
    "provisional_cents": "counted until it is known",
    "provisional_microcents": "counted until it is known, exact",
    "provisional_tokens": "tokens counted until they are known",
    "estimate_cents": "held for it before it ran",
    "estimate_microcents": "held for it before it ran, exact",
    "estimate_tokens": "tokens held for it before it ran",
    "response_id": "id of the answer",
    "provider_request_id": "id of the request",
    "provider_project": "project",
    "provider_key_hint": "end of the key",
    "occurred_at": "began, by the program's clock",
    "sent_timestamp": "time as sent",
    "admitted_at": "let in, by our clock",
    "created_at": "received, by our clock",
    "id": "id of the record",
    "lease_id": "lease",
}
_TONES: Final = {"ok": "good", "warned": "warning", "failed": "bad", "blocked": "bad"}
# Other calls of a session are looked for so long before and after the call: no index has sessions.
_AROUND = timedelta(hours=6)
_OTHERS = 10
# Lists of calls to which a fact of a call leads.
_LISTED_BY: Final[Mapping[str, str]] = {
    "agent_id": "agent_id",
    "session_id": "session_id",
    "end_user": "end_user",
    "model": "model",
    "error_code": "error_code",
}


def headline_of(usage: Any) -> Headline:
    """How the call ended, in a sentence, and its figures."""
    outcome, text = outcome_of(usage)
    counted = dollars(counted_cents(usage) * MICROCENTS_PER_CENT)
    took = "" if usage.latency_ms is None else f"{usage.latency_ms:,} ms"
    figures = [
        Figure("Exact cost", cost_shown(usage), f"{counted} as limits count it, rounded up"),
        Figure("Tokens in", f"{usage.tokens_in:,}", _of(usage.tokens_cached, "from the cache")),
        Figure("Tokens out", f"{usage.tokens_out:,}", _of(usage.tokens_reasoning, "reasoning")),
        Figure("Latency", took or "not told"),
    ]
    return Headline(_SENTENCES[outcome](usage, text), tone=_TONES[outcome], figures=figures)


def _of(part: int, what: str) -> str:
    return f"{part:,} of them {what}" if part else ""


def _answered(usage: CusLLMUsage, _text: str) -> str:
    return f"{usage.model} answered."


def _warned(usage: CusLLMUsage, _text: str) -> str:
    return f"{usage.model} answered; the call was let through with a warning."


def _failed(usage: CusLLMUsage, text: str) -> str:
    return f"The call of {usage.model} ended with the error {text}."


def _blocked(usage: CusLLMUsage, text: str) -> str:
    return f"The call of {usage.model} was refused before it reached the provider: {text}."


_SENTENCES: Final[Mapping[str, Callable[[CusLLMUsage, str], str]]] = {
    "ok": _answered,
    "warned": _warned,
    "failed": _failed,
    "blocked": _blocked,
}


def link_of_fact(request: HttpRequest, usage: CusLLMUsage, name: str) -> str:
    """The page behind a fact of a call: its integration, its tenant, or calls that share the fact."""
    if name == "integration_id":
        return integration_page(usage.integration_id)
    if name == "tenant_id":
        # Only operators may open the page of a tenant.
        is_operator = role_of(request.user) == "operator"
        page = "admin:integrations_custenant_change"
        return reverse(page, args=[usage.tenant_id]) if is_operator else ""
    if name in _LISTED_BY:
        value = str(getattr(usage, name))
        return calls_page(**{"integration": str(usage.integration_id), _LISTED_BY[name]: value})
    return ""


def how_the_cost_came_about(_request: HttpRequest, usage: CusLLMUsage) -> SafeString:
    """The tokens of each kind, each at its price, and their sum; or why the call has no such sum."""
    price = CusKeptPrice.objects.filter(id=usage.price_id).first() if usage.price_id else None
    parts = cost_parts(usage, price) if price else None
    why = _why_no_parts(usage, price)
    if price is None or not parts:
        return table([], [], empty=why)
    rows = [_part(part) for part in parts]
    rows.append(["Sum, rounded up to the microcent", "", "", exact_dollars(usage.cost_microcents)])
    return table(
        ["Kind", "Tokens", "US dollars a million", "Amount"],
        rows,
        empty="",
        note=f"{price.get_source_display()}, version {price.version}, for {price.model}; kept as it "
        f"was since {localize(price.created_at)}. In whole cents, rounded up once: "
        f"{dollars(counted_cents(usage) * MICROCENTS_PER_CENT)}.",
    )


def kept_price_in_words(price_id: uuid.UUID | None) -> str:
    """A kept price by model, source and version, with its id; empty for none."""
    if price_id is None:
        return ""
    price = CusKeptPrice.objects.filter(id=price_id).first()
    return f"{price or 'not kept'}, {price_id}"


def _part(part: CostPart) -> list[Cell]:
    amount = f"${part.microcents / 100_000_000:,.10f}"
    if part.tokens is None or part.dollars_per_million is None:
        return [part.kind.capitalize(), "", "", amount]
    price = f"${_plain(part.dollars_per_million)}"
    return [part.kind.capitalize(), f"{part.tokens:,}", price, amount]


def _plain(number: Decimal) -> str:
    """A number without zeros at its end, but with cents."""
    text = f"{number:,.6f}".rstrip("0")
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest:0<2}"


def _why_no_parts(usage: CusLLMUsage, price: CusKeptPrice | None) -> str:
    if usage.pricing == CusLLMUsage.Pricing.UNKNOWN:
        return (
            f"No price was known for {usage.model}, so the call has no exact cost. Add a price override, "
            "and have an operator reprice the calls since."
        )
    if usage.pricing == CusLLMUsage.Pricing.UNMEASURED:
        return (
            "The program does not know what the call used. Budgets count provisional amounts until "
            "a report of its answer settles it."
        )
    if usage.pricing == CusLLMUsage.Pricing.PROVIDER:
        return "The cost is what the provider's answer says."
    if price is None:
        return "The record is of a release that did not keep its price."
    if usage.turns:
        return "The call has several turns, each at the price of the model that answered it."
    return "The call used nothing that is billed."


def other_calls_of_session(_request: HttpRequest, usage: CusLLMUsage) -> SafeString | None:
    """The calls of the same session within some hours; None for a call without a session."""
    if not usage.session_id:
        return None
    around = (usage.created_at - _AROUND, usage.created_at + _AROUND)
    rows = CusLLMUsage.objects.filter(
        tenant_id=usage.tenant_id,
        integration_id=usage.integration_id,
        session_id=usage.session_id,
        created_at__range=around,
    ).exclude(id=usage.id)
    found = list(rows.order_by("-created_at", "-id")[:_OTHERS])
    shown = table(
        ["Received", "Call", "Model", "Tokens", "Outcome"],
        [_other(one) for one in found],
        empty="No other call of the session was received within six hours.",
    )
    every = calls_page(integration=str(usage.integration_id), session_id=usage.session_id)
    return with_link(shown, every, "All calls of the session")


def _other(usage: CusLLMUsage) -> list[Cell]:
    return [
        str(localize(usage.created_at)),
        format_html('<a href="{}" class="underline">{}</a>', record_page(usage), usage.call_id),
        usage.model,
        f"{usage.tokens_in:,} in, {usage.tokens_out:,} out",
        outcome_of(usage)[1],
    ]
