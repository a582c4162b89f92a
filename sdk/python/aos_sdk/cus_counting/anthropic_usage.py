"""What Anthropic's messages say of their tokens, and of what is billed otherwise (ruling M4)."""

from collections.abc import Mapping
from typing import Any, Final

from aos_sdk.cus_counting.answer_fields import count, get, reports, text_of, view
from aos_sdk.cus_reported_usage import CusReportedUsage
from aos_sdk.cus_wire import MAX_TURNS

_FIELDS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
    "output_tokens_details",
    "server_tool_use",
    "service_tier",
    "speed",
    "inference_geo",
    "iterations",
)
_SAMPLED: Final = (
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_cache_write",
    "tokens_cache_write_1h",
)
# Iterations whose tokens are not in the usage's totals.
_BESIDE_TOTALS: Final = frozenset({"compaction", "advisor_message"})
_TOOL_UNITS: Final = {
    "web_search_requests": "searches",
    "web_fetch_requests": "fetches",
    "code_execution_requests": "code_executions",
    "tool_search_requests": "tool_searches",
}


def anthropic_usage(usage: Any) -> CusReportedUsage:
    """What the usage of a message says, or what a stream has told of it so far."""
    usage = view(usage)
    whole = _sampled(usage)
    thinking = count(get(usage, "output_tokens_details"), "thinking_tokens")
    iterations, tools = get(usage, "iterations"), get(usage, "server_tool_use")
    turns: list[dict[str, Any]] = []
    if iterations:
        turns = _turns(iterations, whole, thinking)
        # The summaries of a long context and an advisor are not in the usage's totals.
        for part in iterations if isinstance(iterations, list) else ():
            if get(part, "type") in _BESIDE_TOTALS:
                whole = tuple(map(sum, zip(whole, _sampled(part), strict=True)))
    tokens_in, tokens_out, read, write, write_1h = whole
    return CusReportedUsage(
        tokens_in,
        tokens_out,
        read,
        write,
        write_1h,
        thinking,
        billed_units=_units(tools) if tools else None,
        service_tier=tier_of(usage),
        reported=reports(usage, "input_tokens", "output_tokens"),
        turns=turns or None,
    )


def _sampled(usage: Any) -> tuple[int, ...]:
    """Tokens in and out, and of those that went in the cached, the written, the kept an hour."""
    usage = view(usage)
    read = count(usage, "cache_read_input_tokens")
    lifetimes = get(usage, "cache_creation")
    for_1h = count(lifetimes, "ephemeral_1h_input_tokens")
    write = count(usage, "cache_creation_input_tokens")
    write = write or for_1h + count(lifetimes, "ephemeral_5m_input_tokens")
    tokens_in = count(usage, "input_tokens") + read + write
    return tokens_in, count(usage, "output_tokens"), read, write, min(for_1h, write)


def _turns(iterations: Any, whole: tuple[int, ...], thinking: int) -> list[dict[str, Any]]:
    """The model turns of a message; none where they are too many, or don't tell all its tokens.

    Thinking is told of the whole message alone: it costs the same in each turn of its model, so it
    is shared out over the message's own turns.
    """
    if not isinstance(iterations, list) or not 1 < len(iterations) <= MAX_TURNS:
        return []
    turns = []
    own = [0] * len(whole)
    for part in iterations:
        tokens = _sampled(part)
        turn: dict[str, Any] = dict(zip(_SAMPLED, tokens, strict=True))
        if model := text_of(part, "model"):
            turn["model"] = model
        if get(part, "type") not in _BESIDE_TOTALS:
            own = [total + more for total, more in zip(own, tokens, strict=True)]
            turn["tokens_reasoning"] = min(thinking, turn["tokens_out"])
            thinking -= turn["tokens_reasoning"]
        turns.append({name: value for name, value in turn.items() if value})
    return turns if tuple(own) == whole and not thinking else []


def _units(tools: Any) -> Mapping[str, int] | None:
    units = {unit: count(tools, name) for name, unit in _TOOL_UNITS.items()}
    return {unit: number for unit, number in units.items() if number} or None


def tier_of(usage: Any) -> str | None:
    """The tier by the table's names: fast mode and inference in the US alone are dearer.

    Of a usage, or of a request's arguments, which have the same words for both.
    """
    tier = text_of(usage, "service_tier")
    if get(usage, "speed") == "fast":
        tier = "fast"
    if get(usage, "inference_geo") != "us":
        return tier
    return f"{tier}_us" if tier in ("fast", "batch") else "us"


def told_fields(usage: Any) -> dict[str, Any]:
    """What a usage object sets, without its nulls."""
    told = ((name, get(usage, name)) for name in _FIELDS)
    return {name: value for name, value in told if value is not None}
