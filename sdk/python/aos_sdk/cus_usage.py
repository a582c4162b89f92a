"""What a provider's response says of its own tokens (§12.3, rulings M4, M8, T2).

Every response shape of the openai and anthropic packages that carries usage is read, as the
provider's object or as the JSON it was made from, and so are their streams (`CusStreamUsage`).
Nothing here imports them. Null, absent or absurd numbers count 0, and nothing raises.
"""

from collections.abc import Mapping
from typing import Any, Final

from aos_sdk.cus_counting.answer_fields import get, reports, text_of
from aos_sdk.cus_counting.classes import remember
from aos_sdk.cus_providers import anthropic, openai
from aos_sdk.cus_providers.provider import CusUsageShape
from aos_sdk.cus_providers.registry import PROVIDERS
from aos_sdk.cus_reported_usage import CusReportedUsage

_SHAPES: Final[Mapping[str | None, CusUsageShape]] = {
    name: provider.usage
    for provider in PROVIDERS
    if provider.usage
    for name in (provider.key, *provider.other_names)
}
# Where an event of a stream keeps what it is about: the Responses API, Messages, the stream
# helpers and Assistants, in this order.
_WRAPPERS: Final = ("response", "message", "chunk", "data")
# Where Groq's streams have the usage, in a chunk like OpenAI's.
GROQ: Final = "x_groq"


def extract_token_usage(response: Any, provider: str | None = None) -> CusReportedUsage:
    """All that a response, or one event of a stream, reports of its usage.

    `provider` decides how it is read; None or one that serves others' models (Bedrock, Vertex,
    a gateway) leaves that to its shape.
    """
    shape = _SHAPES.get(provider)
    if shape is not None and shape.quick is not None:
        quickly = shape.quick(response)
        if quickly is not None:
            return quickly
    bearer = _bearer(response)
    usage = get(bearer, "usage")
    if usage is None:
        return CusReportedUsage()
    return (shape or _shape_of(bearer, usage)).read(bearer, usage)


def extract_usage(response: Any, provider: str) -> tuple[int, int]:
    """(tokens_in, tokens_out) of a response; zeros for a provider without a shape (§12.3)."""
    if provider not in _SHAPES:
        return 0, 0
    return extract_token_usage(response, provider)[:2]


def extract_openai_usage(response: Any) -> tuple[int, int]:
    """(tokens_in, tokens_out) of a response of OpenAI's; zeros where it reports none."""
    return extract_usage(response, openai.PROVIDER.key)


def extract_anthropic_usage(response: Any) -> tuple[int, int]:
    """(tokens_in, tokens_out) of one of Anthropic's, cache reads and writes included (M4)."""
    return extract_usage(response, anthropic.PROVIDER.key)


class CusStreamUsage:
    """Gathers a stream's usage: give `add` every chunk or event, and ask `usage` at the end.

    OpenAI reports once, at or near the end (gateways repeat it, growing): the last one holds.
    Anthropic starts with the prompt's counts and then sends cumulative ones, leaving out what has
    not changed. `usage` can be asked at any time, also of a stream that broke off.

    `named` is the last chunk, or what the last event is about, that names the model that answers:
    the first chunks of some providers have an empty name, or the name of what was asked for.
    """

    __slots__ = ("_gathering", "_is_final", "_last", "_provider", "_told", "named")

    def __init__(self, provider: str | None = None) -> None:
        self._provider = provider
        self._last: Any = None
        # What events have told so far, and their shape, where each tells a part.
        self._told: dict[str, Any] = {}
        self._gathering: CusUsageShape | None = None
        self._is_final = False
        self.named: Any = None

    def add(self, event: Any) -> None:
        """Take note of one chunk or event. One without usage costs next to nothing."""
        kind = type(event)
        try:
            carrier = _carriers[kind]
        except KeyError:
            carrier = _learn(kind)
        if carrier is None:
            return
        if not carrier or getattr(event, carrier, None) is not None or has_usage_of_groq(event):
            self.read(event)

    def read(self, event: Any) -> None:
        """The same of an event that is known to tell usage or names."""
        named = _named(event)
        if named is not None:
            self.named = named
        bearer = _bearer(event)
        usage = get(bearer, "usage")
        if usage is None:
            return
        shape = _SHAPES.get(self._provider) or _shape_of(event, usage)
        if shape.told is None:
            self._last = bearer
            return
        self._is_final = self._gathering is not None
        self._gathering = shape
        self._told = {**self._told, **shape.told(usage)}

    @property
    def is_first_guess(self) -> bool:
        """Whether Anthropic has said what went in, and not yet what came out in the end."""
        return self._gathering is not None and not self._is_final

    @property
    def usage(self) -> CusReportedUsage:
        """What the stream has reported so far."""
        if self._gathering is not None:
            return self._gathering.read(None, self._told)
        return extract_token_usage(self._last, self._provider or openai.PROVIDER.key)


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
    if get(response, "usage") is not None:
        return response
    for wrapper in (*_WRAPPERS, GROQ):
        inner = get(response, wrapper)
        if get(inner, "usage") is not None:
            return inner
    # A line of Anthropic's batch results has it two levels down.
    return get(get(response, "result"), "message")


def has_usage_of_groq(chunk: Any) -> bool:
    """Whether a chunk of a provider's class has its usage where Groq has it."""
    extra = chunk.__pydantic_extra__
    return bool(extra) and GROQ in extra


def _named(event: Any) -> Any:
    """The object that has the name of a model: the event, or what it wraps; None without a name."""
    if text_of(event, "model"):
        return event
    inners = (get(event, wrapper) for wrapper in _WRAPPERS)
    return next((inner for inner in inners if text_of(inner, "model")), None)


def _shape_of(bearer: Any, usage: Any) -> CusUsageShape:
    """The shape of an answer of an unknown provider, or of one that serves other makers' models."""
    kind = get(bearer, "type")
    if isinstance(kind, str) and kind.startswith("message"):
        return anthropic.USAGE
    # Gateways that speak OpenAI's language add Anthropic's words to its own.
    speaks_openai = reports(usage, "prompt_tokens", "total_tokens")
    is_cached = get(usage, "cache_read_input_tokens") is not None
    return anthropic.USAGE if is_cached and not speaks_openai else openai.USAGE
