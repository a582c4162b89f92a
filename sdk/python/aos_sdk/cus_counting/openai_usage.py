"""What OpenAI's responses say of their tokens, and of what is billed otherwise (rulings M4, M8)."""

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final

from aos_sdk.cus_counting.answer_fields import count, get, reports, seconds, view
from aos_sdk.cus_counting.hosted_tools import hosted_units, with_image_turn
from aos_sdk.cus_pricing.decimals import with_own_decimals
from aos_sdk.cus_pricing.rates import without_overlap
from aos_sdk.cus_reported_usage import CusReportedUsage

# Where others who speak OpenAI's protocol say what was cached: DeepSeek, Moonshot and Together,
# Mistral and Fireworks.
_CACHED_ELSEWHERE: Final = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
_DOLLAR: Final = 8  # as a power of ten of microcents
_MOST_MICROCENTS: Final = 2**63 - 1
_COUNTS: Final = ("input_tokens", "output_tokens", "seconds")
_RUNNING: Final = ("queued", "in_progress")


def openai_usage(bearer: Any, usage: Any) -> CusReportedUsage:
    """What the usage of a response, its `bearer`, says; of chat, Responses, images, audio, all."""
    bearer, usage = view(bearer), view(usage)
    # Chat completions, completions and embeddings speak of prompts; all the others of input.
    is_prompt = get(usage, "prompt_tokens") is not None
    if is_prompt:
        tokens_in, tokens_out = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
        sent, made = get(usage, "prompt_tokens_details"), get(usage, "completion_tokens_details")
    else:
        tokens_in, tokens_out = count(usage, "input_tokens"), count(usage, "output_tokens")
        sent = get(usage, "input_tokens_details") or get(usage, "input_token_details")
        made = get(usage, "output_tokens_details") or get(usage, "output_token_details")
    sent, made = view(sent), view(made)
    cached, write = _cached(usage, sent), count(sent, "cache_write_tokens")
    lifetimes = get(sent, "cache_write_tokens_details") if write else None
    audio, image = _uncached_media(sent, tokens_in - cached - write)
    reasoning = count(made, "reasoning_tokens")
    if count(made, "image_tokens"):
        # What an image model writes beside its image is its reasoning, at a price of its own.
        reasoning = count(made, "text_tokens")
    total = count(usage, "total_tokens")
    outside = total - tokens_in - tokens_out
    if is_prompt and outside > 0 and _is_thinking(usage, outside, cached + write):
        # Thinking that is counted in the total alone.
        tokens_out, reasoning = tokens_out + outside, max(reasoning, outside)
    tier = get(bearer, "service_tier")
    read = CusReportedUsage(
        tokens_in,
        tokens_out,
        cached,
        write,
        min(count(lifetimes, "ttl_12h_tokens"), write),
        reasoning,
        audio,
        count(made, "audio_tokens"),
        image,
        total or None,
        None if is_prompt else _units(bearer, usage),
        "batch" if get(bearer, "object") == "batch" else tier if isinstance(tier, str) else None,
        is_prompt or (reports(usage, *_COUNTS) and not _is_running(bearer)),
        _stated_cost(usage),
    )
    return read if is_prompt else with_image_turn(bearer, read)


def _cached(usage: Any, sent: Any) -> int:
    if cached := count(sent, "cached_tokens"):
        return cached
    elsewhere = (count(usage, name) for name in _CACHED_ELSEWHERE)
    return next(filter(None, elsewhere), 0) or count(sent, "num_cached_tokens")


def _is_thinking(usage: Any, outside: int, cached: int) -> bool:
    """Whether what the total has beyond prompt and completion is thinking."""
    # Embeddings think nothing, and some gateways count in the total alone what was cached.
    return type(get(usage, "completion_tokens")) is int and outside != cached


def _is_running(bearer: Any) -> bool:
    """Whether it is a background response whose usage is not final."""
    return get(bearer, "object") == "response" and get(bearer, "status") in _RUNNING


def _stated_cost(usage: Any) -> int | None:
    """What the answer says that the call cost, in microcents: OpenRouter and its like, in dollars."""
    cost = get(usage, "cost")
    if cost is None:
        return None
    if not isinstance(cost, int | float):
        cost = get(cost, "total_cost")
    if type(cost) not in (int, float) or not 0 <= cost < math.inf:
        return None
    microcents = _microcents(cost)
    return microcents if microcents <= _MOST_MICROCENTS else None


@with_own_decimals
def _microcents(dollars: float) -> int:
    """By the decimal digits that the JSON has, rounded up."""
    return int(Decimal(repr(dollars)).scaleb(_DOLLAR).to_integral_value(ROUND_CEILING))


def plain_chat_usage(answer: Any) -> CusReportedUsage | None:
    """The most frequent answer: a prompt, perhaps cached, and a completion, perhaps thought over.

    What `openai_usage` would say of it, in a fraction of its time; None leaves it to that.
    """
    try:
        response, extra = answer.__dict__, answer.__pydantic_extra__
        if extra and "service_tier" in extra:
            return None
        usage = response["usage"]
        # What is no provider's object has no such attribute.
        if usage.__pydantic_extra__ or "output" in response or response["object"] == "batch":
            return None
        counts = usage.__dict__
        tokens_in, tokens_out = counts["prompt_tokens"], counts["completion_tokens"]
        total, tier = counts["total_tokens"], response.get("service_tier")
        cached = _of_text(counts.get("prompt_tokens_details"), "cached_tokens")
        reasoning = _of_text(counts.get("completion_tokens_details"), "reasoning_tokens")
    except (AttributeError, KeyError):
        return None
    if not (type(tokens_in) is type(tokens_out) is type(cached) is type(reasoning) is int):
        return None
    if tokens_in < 0 or tokens_out < 0 or cached < 0 or reasoning < 0:
        return None
    # A total beyond the two is the slow way's to explain.
    if type(total) is not int or not 0 < total <= tokens_in + tokens_out:
        return None
    if tier is not None and type(tier) is not str:
        return None
    # As `CusReportedUsage(…)` would, at a third of its price.
    fields = (
        tokens_in, tokens_out, cached, 0, 0, reasoning, 0, 0, 0, total, None, tier, True, None, None,
    )  # fmt: skip
    return tuple.__new__(CusReportedUsage, fields)


def _of_text(details: Any, name: str) -> Any:
    """The number of this name where details of tokens speak of text alone; None where they don't."""
    if details is None:
        return 0
    told = details.__dict__
    if told.get("audio_tokens") or told.get("image_tokens") or told.get("cache_write_tokens"):
        return None
    return None if details.__pydantic_extra__ else told.get(name) or 0


def _uncached_media(sent: Any, room: int) -> tuple[int, int]:
    """Audio and image tokens of a prompt that are not counted as cached too (ruling M8).

    Exactly so where the provider tells what it cached; else less the overlap that is certain.
    """
    audio, image = count(sent, "audio_tokens"), count(sent, "image_tokens")
    if not audio and not image:
        return 0, 0
    if (cached := get(sent, "cached_tokens_details")) is not None:
        audio -= min(count(cached, "audio_tokens"), audio)
        image -= min(count(cached, "image_tokens"), image)
    return without_overlap(max(audio + image - max(room, 0), 0), audio, image)


def _units(bearer: Any, usage: Any) -> Mapping[str, int] | None:
    drawn = count(get(bearer, "svg_usage"), "total_tokens")
    units = {"seconds": seconds(get(usage, "seconds")), "svg_tokens": drawn}
    units.update(hosted_units(bearer))
    return {unit: number for unit, number in units.items() if number} or None
