"""What Anthropic's messages say of their tokens, and of what is billed otherwise (ruling M4)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aos_sdk.cus_counting.answer_fields import count, get, reports, text_of, view
from aos_sdk.cus_reported_usage import CusReportedUsage

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


def anthropic_usage(usage: Any) -> CusReportedUsage:
    """What the usage of a message says, or what a stream has told of it so far."""
    usage = view(usage)
    tokens_in, tokens_out, read, write, write_1h = _sampled(usage)
    thinking = count(get(usage, "output_tokens_details"), "thinking_tokens")
    iterations, tools = get(usage, "iterations"), get(usage, "server_tool_use")
    # Summaries that the server made of a long context: billed, and not in the usage's totals.
    for part in _of_kind(iterations, "compaction"):
        more_in, more_out, more_read, more_write, more_1h = _sampled(part)
        tokens_in, tokens_out, read = tokens_in + more_in, tokens_out + more_out, read + more_read
        write, write_1h = write + more_write, write_1h + more_1h
    return CusReportedUsage(
        tokens_in,
        tokens_out,
        read,
        write,
        write_1h,
        thinking,
        billed_units=_units(tools, iterations) if tools or iterations else None,
        service_tier=_tier(usage),
        reported=reports(usage, "input_tokens", "output_tokens"),
    )


def _sampled(usage: Any) -> tuple[int, int, int, int, int]:
    """Tokens in and out, and of those that went in the cached, the written, the kept an hour."""
    usage = view(usage)
    read = count(usage, "cache_read_input_tokens")
    lifetimes = get(usage, "cache_creation")
    for_1h = count(lifetimes, "ephemeral_1h_input_tokens")
    write = count(usage, "cache_creation_input_tokens")
    write = write or for_1h + count(lifetimes, "ephemeral_5m_input_tokens")
    tokens_in = count(usage, "input_tokens") + read + write
    return tokens_in, count(usage, "output_tokens"), read, write, min(for_1h, write)


def _of_kind(iterations: Any, kind: str) -> Sequence[Any]:
    if not isinstance(iterations, list):
        return ()
    return [part for part in iterations if get(part, "type") == kind]


def _units(tools: Any, iterations: Any) -> Mapping[str, int] | None:
    # An advisor is another model, billed at its own rates and not in the usage's totals.
    advisors = (_sampled(part)[:2] for part in _of_kind(iterations, "advisor_message"))
    units = {
        "searches": count(tools, "web_search_requests"),
        "fetches": count(tools, "web_fetch_requests"),
        "advisor_tokens": sum(map(sum, advisors)),
    }
    return {unit: number for unit, number in units.items() if number} or None


def _tier(usage: Any) -> str | None:
    """The tier by the table's names: fast mode and inference in the US alone are dearer."""
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
