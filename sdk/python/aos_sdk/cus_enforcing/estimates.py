"""A bound of what a call may use and cost, before it runs (rulings F3 and F3b).

A token of a text has at least one byte, so a prompt's UTF-8 bytes are a bound of its tokens that
costs next to nothing. What the request refers to instead of containing it (an earlier response, a
conversation, a file) may be as long as the model's context window, and so counts as that.
"""

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Final, NamedTuple

from aos_sdk.cus_cost import CusModelPricing, CusTokenUsage, cents_of, get_model_pricing
from aos_sdk.cus_counting.anthropic_usage import tier_of
from aos_sdk.cus_counting.estimates import count_call, parts_of_call
from aos_sdk.cus_enforcing.usual_requests import (
    FRAMING,
    FRAMING_PER_MESSAGE,
    bound_of_usual,
    bytes_of,
)
from aos_sdk.cus_token_counter import get_model_info
from aos_sdk.cus_wire import CusOperation

# Taking a prompt apart may take so long of the program's time; a longer prompt counts as the
# context window.
_LOOKING_SECONDS: Final = 0.001
# What providers add to a prompt beyond what is counted, for its tools.
_OF_TOOLS: Final = 1_024
OUTPUTS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_CHOICES: Final = ("n", "best_of")
# Arguments that stand for a prompt which the request does not contain.
_REFERENCES: Final = (
    *("previous_response_id", "conversation", "prompt_cache_id", "thread_id", "assistant_id"),
    *("container", "mcp_servers"),
)
_ESTIMATED: Final = frozenset(
    {CusOperation.CHAT, CusOperation.RESPONSES, CusOperation.COMPLETION, CusOperation.EMBEDDING}
)
_CACHING, _AUDIO = "cache_control", "input_audio"
_DEARER_TIERS: Final = ("priority", "fast", "fast_us", "us")


class CusEstimate(NamedTuple):
    """Bounds of a call. `microcents` is None where only the server knows the prices.

    `names_maximum`: the call says how much it may answer at most.
    """

    tokens_in: int
    tokens_out: int
    microcents: int | None
    names_maximum: bool

    @property
    def tokens(self) -> int:
        """Of prompt and answer together."""
        return self.tokens_in + self.tokens_out

    @property
    def cents(self) -> int | None:
        """The cost, rounded up (ruling M2)."""
        return None if self.microcents is None else cents_of(self.microcents)


def estimate_call(
    operation: str | None,
    model: str,
    arguments: Mapping[str, Any],
    *,
    own_prices: bool,
    counted: bool = False,
    learned: int | None = None,
) -> CusEstimate | None:
    """What a call with these arguments may use at most; None where the server has to say it.

    Of a call without an operation nothing is known but its model and, if named, its most tokens.

    With `own_prices` the tenant may have prices of its own, which the server knows. With `counted`
    the prompt's texts are counted by the tokenizer, in bounded time, which is closer than the bound.
    `learned` is how much the integration's calls of this model write, where that counts (F3b).
    """
    if not (own_prices or counted):
        usual = bound_of_usual(operation, model, arguments, learned)
        if usual is not None:
            return CusEstimate._make(usual)
    if operation is not None and operation not in _ESTIMATED:
        return None
    info = get_model_info(model)
    window, most_output = info.context_window, info.max_output
    asked = [arguments[name] for name in OUTPUTS if type(arguments.get(name)) is int]
    output = asked[0] if asked else most_output
    if operation == CusOperation.EMBEDDING:
        output = 0
    if output is None or not window:
        return None
    if learned is not None:
        output = min(output, learned)
    tokens_in = window
    if operation is not None:
        tokens_in = min(_prompt(arguments, model, window, counted=counted), window)
    tokens_out = max(output, 0) * _number_of_choices(arguments)
    pricing = None if own_prices else get_model_pricing(model)
    microcents = _cost(pricing, arguments, tokens_in, tokens_out) if pricing else None
    return CusEstimate(max(tokens_in, 1), tokens_out, microcents, bool(asked))


def _prompt(arguments: Mapping[str, Any], model: str, window: int, *, counted: bool) -> int:
    """The most tokens of the prompt."""
    if any(arguments.get(name) for name in _REFERENCES):
        return window
    if counted:
        return _framing(arguments) + count_call(arguments, "", model).usage.tokens_in
    until = perf_counter() + _LOOKING_SECONDS
    parts = parts_of_call(arguments, model, _over(until))
    if not parts.is_complete:
        return window
    return _framing(arguments) + parts.overhead + sum(map(bytes_of, parts.texts))


def _framing(arguments: Mapping[str, Any]) -> int:
    messages = sum(len(_listed(arguments.get(name))) for name in ("messages", "input"))
    tools = _OF_TOOLS if arguments.get("tools") or arguments.get("functions") else 0
    return FRAMING + FRAMING_PER_MESSAGE * messages + tools


def _over(until: float) -> Callable[[], bool]:
    return lambda: perf_counter() >= until


def _number_of_choices(arguments: Mapping[str, Any]) -> int:
    numbers = [arguments.get(name) for name in _CHOICES]
    prompt = arguments.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list | tuple) else 1
    return max([1, *(number for number in numbers if type(number) is int)]) * max(prompts, 1)


def _cost(
    pricing: CusModelPricing, arguments: Mapping[str, Any], tokens_in: int, tokens_out: int
) -> int:
    """The dearest that these tokens may cost, by what the request uses."""
    kinds = [CusTokenUsage(tokens_in, tokens_out)]
    if _mentions(arguments, _CACHING):
        written = {"tokens_cache_write": tokens_in, "tokens_cache_write_1h": tokens_in}
        kinds.append(CusTokenUsage(tokens_in, tokens_out, **written))
    if arguments.get("modalities") or arguments.get("audio") or _mentions(arguments, _AUDIO):
        audio = {"tokens_audio_in": tokens_in, "tokens_audio_out": tokens_out}
        kinds.append(CusTokenUsage(tokens_in, tokens_out, **audio))
    tier = tier_of(arguments)
    # A cheaper tier is not certain to be granted.
    dearer = tier if tier in _DEARER_TIERS else None
    return max(pricing.cost_microcents(kind, tier=dearer) for kind in kinds)


def _mentions(arguments: Mapping[str, Any], word: str) -> bool:
    """Whether a part of the request has this key or this type."""
    if word in arguments:
        return True
    for name in ("system", "messages", "input", "tools"):
        for message in _listed(arguments.get(name)):
            if _has(message, word) or any(
                _has(part, word) for part in _listed(message.get("content"))
            ):
                return True
    return False


def _listed(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list | tuple):
        return []
    return [one for one in value if isinstance(one, Mapping)]


def _has(part: Mapping[str, Any], word: str) -> bool:
    return word in part or part.get("type") == word
