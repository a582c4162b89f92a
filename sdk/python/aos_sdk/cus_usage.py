"""What a provider's response says of its own tokens (§12.3, rulings M4, M8, T2).

Every response shape of the openai and anthropic packages that carries usage is read, as the
provider's object or as the JSON it was made from, and so are their streams (`CusStreamUsage`).
Nothing here imports them. Null, absent or absurd numbers count 0, and nothing raises.
"""

from typing import Any, Final

from aos_sdk.cus_counting.answer_fields import get, reports
from aos_sdk.cus_counting.anthropic_usage import anthropic_usage, told_fields
from aos_sdk.cus_counting.classes import remember
from aos_sdk.cus_counting.openai_usage import openai_usage, plain_chat_usage
from aos_sdk.cus_reported_usage import CusReportedUsage

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


def extract_token_usage(response: Any, provider: str | None = None) -> CusReportedUsage:
    """All that a response, or one event of a stream, reports of its usage.

    `provider` decides how it is read; None or one that serves others' models (Bedrock, Vertex,
    a gateway) leaves that to its shape.
    """
    if provider == _OPENAI:
        plain = plain_chat_usage(response)
        if plain is not None:
            return plain
    bearer = _bearer(response)
    usage = get(bearer, "usage")
    if usage is None:
        return CusReportedUsage()
    family = _FAMILY_OF_PROVIDER.get(provider or "") or _family_of(bearer, usage)
    if family == _ANTHROPIC:
        return anthropic_usage(usage)
    return openai_usage(bearer, usage)


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
        usage = get(bearer, "usage")
        if usage is None:
            return
        family = _FAMILY_OF_PROVIDER.get(self._provider or "") or _family_of(event, usage)
        if family == _ANTHROPIC:
            self._is_final = self._anthropic is not None
            self._anthropic = {**(self._anthropic or {}), **told_fields(usage)}
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
            return anthropic_usage(self._anthropic)
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
    if get(response, "usage") is not None:
        return response
    for wrapper in _WRAPPERS:
        inner = get(response, wrapper)
        if get(inner, "usage") is not None:
            return inner
    # A line of Anthropic's batch results has it two levels down.
    return get(get(response, "result"), "message")


def _family_of(bearer: Any, usage: Any) -> str:
    kind = get(bearer, "type")
    if isinstance(kind, str) and kind.startswith("message"):
        return _ANTHROPIC
    # Gateways that speak OpenAI's language add Anthropic's words to its own.
    speaks_openai = reports(usage, "prompt_tokens", "total_tokens")
    is_cached = get(usage, "cache_read_input_tokens") is not None
    return _ANTHROPIC if is_cached and not speaks_openai else _OPENAI
