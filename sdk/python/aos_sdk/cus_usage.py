"""What a provider's response says of its own tokens (§12.3, rulings M4, M8, T2).

Every response shape of the openai and anthropic packages that carries usage is read, as the
provider's object or as the JSON it was made from, and so are their streams (`CusStreamUsage`).
Nothing here imports them. Null, absent or absurd numbers count 0, and nothing raises.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from aos_sdk.cus_classes import remember
from aos_sdk.cus_pricing import CusTokenUsage, without_overlap

_OPENAI: Final = "openai"
_ANTHROPIC: Final = "anthropic"
_FAMILY_OF_PROVIDER: Final = {
    "openai": _OPENAI,
    "azure": _OPENAI,
    "azure_openai": _OPENAI,
    "anthropic": _ANTHROPIC,
}
# Where an event of a stream keeps what it is about: the Responses API, Messages, the stream
# helpers and Assistants, in this order.
_WRAPPERS: Final = ("response", "message", "chunk", "data")
_ANTHROPIC_FIELDS: Final = (
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
_NOTHING: Final[Mapping[str, int]] = {}


class CusReportedUsage(NamedTuple):
    """What a response reports: the fields of `CusTokenUsage`, disjoint in their details, and more.

    `billed_units` is what is billed otherwise than by tokens: `searches`, `file_searches`,
    `seconds` of audio, and tokens of other models than the one that answered. `service_tier` is
    the tier that served the call, as the price table names it. Without `reported` the response
    carries no usage, and its zeros mean nothing.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    tokens_cache_write: int = 0
    tokens_cache_write_1h: int = 0
    tokens_reasoning: int = 0
    tokens_audio_in: int = 0
    tokens_audio_out: int = 0
    tokens_image_in: int = 0
    tokens_total: int | None = None
    billed_units: Mapping[str, int] | None = None
    service_tier: str | None = None
    reported: bool = False

    @property
    def tokens(self) -> CusTokenUsage:
        """The tokens alone, for `price_call`."""
        return CusTokenUsage._make(self[:10])


def extract_token_usage(response: Any, provider: str | None = None) -> CusReportedUsage:
    """All that a response, or one event of a stream, reports of its usage.

    `provider` decides how it is read; None or one that serves others' models (Bedrock, Vertex,
    a gateway) leaves that to its shape.
    """
    if provider == _OPENAI:
        plain = _plain_chat(response)
        if plain is not None:
            return plain
    bearer = _bearer(response)
    usage = _get(bearer, "usage")
    if usage is None:
        return CusReportedUsage()
    family = _FAMILY_OF_PROVIDER.get(provider or "") or _family_of(bearer, usage)
    if family == _ANTHROPIC:
        return _anthropic(usage)
    return _openai(bearer, usage)


def extract_usage(response: Any, provider: str) -> tuple[int, int]:
    """(tokens_in, tokens_out) of a response; zeros for a provider other than these two (§12.3)."""
    family = _FAMILY_OF_PROVIDER.get(provider)
    if family is None:
        return 0, 0
    return extract_token_usage(response, family)[:2]


def extract_openai_usage(response: Any) -> tuple[int, int]:
    """(tokens_in, tokens_out) of a response of OpenAI's; zeros where it reports none."""
    return extract_usage(response, _OPENAI)


def extract_anthropic_usage(response: Any) -> tuple[int, int]:
    """(tokens_in, tokens_out) of one of Anthropic's, cache reads and writes included (M4)."""
    return extract_usage(response, _ANTHROPIC)


class CusStreamUsage:
    """Gathers a stream's usage: give `add` every chunk or event, and ask `usage` at the end.

    OpenAI reports once, at or near the end (gateways repeat it, growing): the last one holds.
    Anthropic starts with the prompt's counts and then sends cumulative ones, leaving out what has
    not changed. `usage` can be asked at any time, also of a stream that broke off.
    """

    __slots__ = ("_anthropic", "_is_final", "_last", "_provider")

    def __init__(self, provider: str | None = None) -> None:
        self._provider = provider
        self._last: Any = None
        self._anthropic: dict[str, Any] | None = None
        self._is_final = False

    def add(self, event: Any) -> None:
        """Take note of one chunk or event. One without usage costs next to nothing."""
        kind = type(event)
        try:
            carrier = _carriers[kind]
        except KeyError:
            carrier = _learn(kind)
        if carrier is not None and (not carrier or getattr(event, carrier, None) is not None):
            self._read(event)

    def _read(self, event: Any) -> None:
        bearer = _bearer(event)
        usage = _get(bearer, "usage")
        if usage is None:
            return
        family = _FAMILY_OF_PROVIDER.get(self._provider or "") or _family_of(event, usage)
        if family == _ANTHROPIC:
            self._is_final = self._anthropic is not None
            self._anthropic = {**(self._anthropic or {}), **_fields(usage)}
        else:
            self._last = bearer

    @property
    def is_first_guess(self) -> bool:
        """Whether Anthropic has said what went in, and not yet what came out in the end."""
        return self._anthropic is not None and not self._is_final

    @property
    def usage(self) -> CusReportedUsage:
        """What the stream has reported so far."""
        if self._anthropic is not None:
            return _anthropic(self._anthropic)
        return extract_token_usage(self._last, self._provider or _OPENAI)


# Which attribute of a class's objects may lead to usage (none; any, if empty), remembered a class:
# most events of a stream have none, and to look for it in each would cost more than all the rest.
_carriers: dict[type, str | None] = {}


def _learn(kind: type) -> str | None:
    fields = getattr(kind, "model_fields", None)
    names = ("",) if fields is None else ("usage", *_WRAPPERS)
    carrier = next((name for name in names if not name or name in (fields or ())), None)
    return remember(_carriers, kind, carrier)


def _bearer(response: Any) -> Any:
    """The object that has `usage`: the response, or what an event of a stream wraps."""
    if _get(response, "usage") is not None:
        return response
    for wrapper in _WRAPPERS:
        inner = _get(response, wrapper)
        if _get(inner, "usage") is not None:
            return inner
    # A line of Anthropic's batch results has it two levels down.
    return _get(_get(response, "result"), "message")


def _family_of(bearer: Any, usage: Any) -> str:
    kind = _get(bearer, "type")
    if isinstance(kind, str) and kind.startswith("message"):
        return _ANTHROPIC
    # Gateways that speak OpenAI's language add Anthropic's words to its own.
    speaks_openai = _reports(usage, "prompt_tokens", "total_tokens")
    is_cached = _get(usage, "cache_read_input_tokens") is not None
    return _ANTHROPIC if is_cached and not speaks_openai else _OPENAI


def _openai(bearer: Any, usage: Any) -> CusReportedUsage:
    bearer, usage = _view(bearer), _view(usage)
    # Chat completions, completions and embeddings speak of prompts; all the others of input.
    is_prompt = _get(usage, "prompt_tokens") is not None
    if is_prompt:
        tokens_in, tokens_out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        sent, made = _get(usage, "prompt_tokens_details"), _get(usage, "completion_tokens_details")
    else:
        tokens_in, tokens_out = _count(usage, "input_tokens"), _count(usage, "output_tokens")
        sent = _get(usage, "input_tokens_details") or _get(usage, "input_token_details")
        made = _get(usage, "output_tokens_details") or _get(usage, "output_token_details")
    sent, made = _view(sent), _view(made)
    cached, write = _count(sent, "cached_tokens"), _count(sent, "cache_write_tokens")
    lifetimes = _get(sent, "cache_write_tokens_details") if write else None
    audio, image = _uncached_media(sent, tokens_in - cached - write)
    reasoning = _count(made, "reasoning_tokens")
    if _count(made, "image_tokens"):
        # What an image model writes beside its image is its reasoning, at a price of its own.
        reasoning = _count(made, "text_tokens")
    tier = _get(bearer, "service_tier")
    return CusReportedUsage(
        tokens_in,
        tokens_out,
        cached,
        write,
        min(_count(lifetimes, "ttl_12h_tokens"), write),
        reasoning,
        audio,
        _count(made, "audio_tokens"),
        image,
        _count(usage, "total_tokens") or None,
        None if is_prompt else _openai_units(bearer, usage),
        "batch" if _get(bearer, "object") == "batch" else tier if isinstance(tier, str) else None,
        is_prompt or _reports(usage, "input_tokens", "output_tokens", "seconds"),
    )


def _plain_chat(answer: Any) -> CusReportedUsage | None:
    """The most frequent answer: a prompt, perhaps cached, and a completion, perhaps thought over.

    What `_openai` would say of it, in a fraction of its time; None leaves it to that.
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
    if type(total) is not int or total <= 0:
        return None
    if tier is not None and type(tier) is not str:
        return None
    # As `CusReportedUsage(…)` would, at a third of its price.
    fields = (tokens_in, tokens_out, cached, 0, 0, reasoning, 0, 0, 0, total, None, tier, True)
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
    audio, image = _count(sent, "audio_tokens"), _count(sent, "image_tokens")
    if not audio and not image:
        return 0, 0
    if (cached := _get(sent, "cached_tokens_details")) is not None:
        audio -= min(_count(cached, "audio_tokens"), audio)
        image -= min(_count(cached, "image_tokens"), image)
    return without_overlap(max(audio + image - max(room, 0), 0), audio, image)


def _openai_units(bearer: Any, usage: Any) -> Mapping[str, int] | None:
    drawn = _count(_get(bearer, "svg_usage"), "total_tokens")
    units = {"seconds": _seconds(_get(usage, "seconds")), "svg_tokens": drawn}
    units.update(_hosted_tools(bearer))
    return {unit: count for unit, count in units.items() if count} or None


def _hosted_tools(response: Any) -> Mapping[str, int]:
    """What the tools that OpenAI hosts have done for a response of the Responses API."""
    calls = _get(response, "output")
    if not isinstance(calls, list):
        return _NOTHING
    tools = _get(response, "tool_usage")
    searches = sum(_is_search(call) for call in calls)
    if (web := _get(tools, "web_search")) is not None:
        searches = _count(web, "num_requests")
    return {
        "searches": searches,
        "file_searches": sum(_get(call, "type") == "file_search_call" for call in calls),
        "svg_tokens": sum(_count(_get(call, "svg_usage"), "total_tokens") for call in calls),
        "image_tool_tokens": _count(_get(tools, "image_gen"), "total_tokens"),
    }


def _is_search(call: Any) -> bool:
    # Opening and reading a page that was found is free.
    is_call = _get(call, "type") == "web_search_call"
    return is_call and _get(_get(call, "action"), "type") in ("search", None)


def _anthropic(usage: Any) -> CusReportedUsage:
    usage = _view(usage)
    tokens_in, tokens_out, read, write, write_1h = _sampled(usage)
    thinking = _count(_get(usage, "output_tokens_details"), "thinking_tokens")
    iterations, tools = _get(usage, "iterations"), _get(usage, "server_tool_use")
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
        billed_units=_anthropic_units(tools, iterations) if tools or iterations else None,
        service_tier=_anthropic_tier(usage),
        reported=_reports(usage, "input_tokens", "output_tokens"),
    )


def _sampled(usage: Any) -> tuple[int, int, int, int, int]:
    """Tokens in and out, and of those that went in the cached, the written, the kept an hour."""
    usage = _view(usage)
    read = _count(usage, "cache_read_input_tokens")
    lifetimes = _get(usage, "cache_creation")
    for_1h = _count(lifetimes, "ephemeral_1h_input_tokens")
    write = _count(usage, "cache_creation_input_tokens")
    write = write or for_1h + _count(lifetimes, "ephemeral_5m_input_tokens")
    tokens_in = _count(usage, "input_tokens") + read + write
    return tokens_in, _count(usage, "output_tokens"), read, write, min(for_1h, write)


def _of_kind(iterations: Any, kind: str) -> Sequence[Any]:
    if not isinstance(iterations, list):
        return ()
    return [part for part in iterations if _get(part, "type") == kind]


def _anthropic_units(tools: Any, iterations: Any) -> Mapping[str, int] | None:
    # An advisor is another model, billed at its own rates and not in the usage's totals.
    advisors = (_sampled(part)[:2] for part in _of_kind(iterations, "advisor_message"))
    units = {
        "searches": _count(tools, "web_search_requests"),
        "fetches": _count(tools, "web_fetch_requests"),
        "advisor_tokens": sum(map(sum, advisors)),
    }
    return {unit: count for unit, count in units.items() if count} or None


def _anthropic_tier(usage: Any) -> str | None:
    """The tier by the table's names: fast mode and inference in the US alone are dearer."""
    tier = _text(usage, "service_tier")
    if _get(usage, "speed") == "fast":
        tier = "fast"
    if _get(usage, "inference_geo") != "us":
        return tier
    return f"{tier}_us" if tier in ("fast", "batch") else "us"


# pydantic takes microseconds to say that an object has no such attribute, so its models are known
# by class and asked otherwise.
_is_model: dict[type, bool] = {}


def _get(part: Any, name: str) -> Any:
    if part is None:
        return None
    kind = type(part)
    if kind is dict:
        return part.get(name)
    is_model = _is_model.get(kind)
    if is_model is None:
        is_model = remember(_is_model, kind, hasattr(kind, "__pydantic_extra__"))
    if not is_model:
        return getattr(part, name, None)
    fields = part.__dict__
    if name in fields:
        return fields[name]
    extra = part.__pydantic_extra__
    return extra.get(name) if extra else None


def _count(part: Any, name: str) -> int:
    """A count of tokens, or 0: providers leave details out, null, and once in a while negative."""
    if part is None:
        return 0
    value = part.get(name) if type(part) is dict else _get(part, name)
    return value if type(value) is int and value > 0 else 0


def _view(part: Any) -> Any:
    """The fields of a provider's object as the dictionary they are: quicker to ask many times."""
    kind = type(part)
    if kind is dict or part is None or not _is_model.get(kind):
        return part
    extra = part.__pydantic_extra__
    return {**part.__dict__, **extra} if extra else part.__dict__


def _reports(usage: Any, *names: str) -> bool:
    return any(_get(usage, name) is not None for name in names)


def _text(part: Any, name: str) -> str | None:
    value = _get(part, name)
    return value if isinstance(value, str) else None


def _seconds(duration: Any) -> int:
    """Audio is billed by the nearest second; the package has the seconds as a float."""
    if not isinstance(duration, int | float) or not 0 < duration < 2**31:
        return 0
    return int(duration + 0.5)


def _fields(usage: Any) -> dict[str, Any]:
    """What a usage object sets, without its nulls."""
    told = ((name, _get(usage, name)) for name in _ANTHROPIC_FIELDS)
    return {name: value for name, value in told if value is not None}
