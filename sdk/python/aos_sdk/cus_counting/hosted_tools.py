"""What the tools that OpenAI hosts have done for a response of the Responses API (ruling M5b)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aos_sdk.cus_counting.answer_fields import count, get, text_of
from aos_sdk.cus_pricing.rates import CusTokenUsage
from aos_sdk.cus_reported_usage import CusReportedUsage

_NOTHING: Final[Mapping[str, int]] = {}
# A container of 1 GB is the plain one.
_LARGE_CONTAINERS: Final = frozenset({"4g", "16g", "64g"})
_KINDS: Final = CusTokenUsage._fields[:-1]


def hosted_units(response: Any) -> Mapping[str, int]:
    """Searches by kind, containers, and tokens of drawing tools; 0 where a tool did nothing."""
    calls = get(response, "output")
    if not isinstance(calls, list):
        return _NOTHING
    tools = _listed(response, "tools")
    searches = sum(_is_search(call) for call in calls)
    if (web := get(get(response, "tool_usage"), "web_search")) is not None:
        searches = count(web, "num_requests")
    image_model = _image_model(tools)
    return {
        "searches_preview" if _searches_by_preview(tools) else "searches": searches,
        "file_searches": sum(get(call, "type") == "file_search_call" for call in calls),
        "svg_tokens": sum(count(get(call, "svg_usage"), "total_tokens") for call in calls),
        "image_tool_tokens": 0 if image_model else count(_image_usage(response), "total_tokens"),
        _container_unit(tools): len(_containers(calls)),
    }


def with_image_turn(response: Any, usage: CusReportedUsage) -> CusReportedUsage:
    """The usage of a response and that of the image model that drew for it, as two turns.

    OpenAI tells the second beside the first. Without the image model's name it stays a unit.
    """
    drawn = _image_usage(response)
    if drawn is None or not (model := _image_model(_listed(response, "tools"))):
        return usage
    image = _image_tokens(drawn)
    if not image.tokens_in and not image.tokens_out:
        return usage
    answer: Sequence[Any] = usage[: len(_KINDS)]
    drawing: Sequence[Any] = image[: len(_KINDS)]
    sums = (one + other for one, other in zip(answer, drawing, strict=True))
    both: dict[str, Any] = dict(zip(_KINDS, sums, strict=True))
    if usage.tokens_total is not None:
        both["tokens_total"] = usage.tokens_total + image.tokens_in + image.tokens_out
    return usage._replace(**both, turns=[_turn(answer), _turn(drawing, model)])


def _image_tokens(drawn: Any) -> CusTokenUsage:
    """What an image model used: what it writes beside its image counts as reasoning."""
    tokens_in, tokens_out = count(drawn, "input_tokens"), count(drawn, "output_tokens")
    cached = min(count(drawn, "cached_tokens"), tokens_in)
    images = count(get(drawn, "input_tokens_details"), "image_tokens")
    images -= count(get(drawn, "cached_tokens_details"), "cached_image_tokens")
    written = count(get(drawn, "output_tokens_details"), "text_tokens")
    return CusTokenUsage(
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_cached=cached,
        tokens_reasoning=min(written, tokens_out),
        tokens_image_in=min(max(images, 0), tokens_in - cached),
    )


def _turn(tokens: Sequence[Any], model: str | None = None) -> dict[str, Any]:
    turn = {name: number for name, number in zip(_KINDS, tokens, strict=True) if number}
    # The image model has no tiers: the response's is not its own.
    return {**turn, "model": model, "service_tier": "default"} if model else turn


def _listed(response: Any, name: str) -> Sequence[Any]:
    listed = get(response, name)
    return listed if isinstance(listed, list) else ()


def _image_usage(response: Any) -> Any:
    return get(get(response, "tool_usage"), "image_gen")


def _image_model(tools: Sequence[Any]) -> str | None:
    """The model of the image tool, if the response names one and one alone."""
    named = {text_of(tool, "model") for tool in tools if get(tool, "type") == "image_generation"}
    return named.pop() if len(named) == 1 else None


def _searches_by_preview(tools: Sequence[Any]) -> bool:
    kinds = [str(get(tool, "type")) for tool in tools]
    return any(kind.startswith("web_search_preview") for kind in kinds)


def _containers(calls: Sequence[Any]) -> set[str]:
    """The containers that code ran in: one is billed once, however often code ran in it."""
    ran = (call for call in calls if get(call, "type") == "code_interpreter_call")
    return {text_of(call, "container_id") or "" for call in ran}


def _container_unit(tools: Sequence[Any]) -> str:
    for tool in tools:
        if get(tool, "type") == "code_interpreter":
            size = text_of(get(tool, "container"), "memory_limit")
            return f"containers_{size}" if size in _LARGE_CONTAINERS else "containers"
    return "containers"


def _is_search(call: Any) -> bool:
    # Opening and reading a page that was found is free.
    is_call = get(call, "type") == "web_search_call"
    return is_call and get(get(call, "action"), "type") in ("search", None)
