"""The bound of a usual request, in two microseconds: the same as `estimates` gives, or none.

A usual request is a chat of plain texts, and asks for nothing that is billed or counted in a way of
its own. Each call of a program passes here before it begins.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from aos_sdk.cus_cost import CusModelPricing, CusTokenUsage, get_model_pricing
from aos_sdk.cus_counting.prompts import PER_MESSAGE, REPLY
from aos_sdk.cus_token_counter import get_model_info
from aos_sdk.cus_wire import CusOperation

# What providers add to a prompt beyond what is counted: around it, and each message.
FRAMING: Final = 32
FRAMING_PER_MESSAGE: Final = 8
# Arguments that change neither the tokens of a prompt nor the price of a token.
_USUAL: Final = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k"}
    | {"stream", "stream_options", "stop", "stop_sequences", "seed", "user", "metadata", "store"}
    | {"presence_penalty", "frequency_penalty", "timeout", "reasoning_effort", "verbosity"}
)
# A member of an enumeration takes ten times as long to get at as a name.
_CHAT: Final = CusOperation.CHAT
_FIELDS_OF_A_MESSAGE: Final = 2
_MOST_MESSAGES: Final = 200
# A longer prompt may have another price for each token.
_LONGEST_PROMPT: Final = 100_000
# A price is linear in tokens where it is so at these numbers, with this many tokens as the unit.
_UNIT: Final = 100_000
_SAMPLES: Final = ((1, 0), (0, 1), (999, 77), (_LONGEST_PROMPT, 10_000_000))


# Tokens of prompt and answer, the cost in microcents, and whether the call names a maximum. A plain
# tuple, which takes no memory of its own.
CusUsualBound: TypeAlias = tuple[int, int, int, bool]
# A model whose tokens have one price each: context window, maximum output, and the microcents of
# so many tokens of prompt and of answer; how many is last.
CusUsualModel: TypeAlias = tuple[int, int, int, int, int]


def bound_of_usual(
    operation: str | None, model: str, arguments: Mapping[str, Any], learned: int | None = None
) -> CusUsualBound | None:
    """The bound; None if the request or its model is not usual. `learned`: as for `estimate_call`."""
    if operation is not _CHAT or not _USUAL.issuperset(arguments):
        return None
    known = _usual_model(model)
    tokens_in = _tokens_of(arguments.get("messages"))
    if known is None or tokens_in is None or tokens_in > _LONGEST_PROMPT:
        return None
    window, most_output, price_in, price_out, unit = known
    if tokens_in > window:
        tokens_in = window
    maximum = arguments.get("max_completion_tokens")
    if type(maximum) is not int:
        maximum = arguments.get("max_tokens")
    names_maximum = type(maximum) is int
    tokens_out = max(maximum, 0) if type(maximum) is int else most_output
    if learned is not None and learned < tokens_out:
        tokens_out = learned
    microcents = tokens_in * price_in + tokens_out * price_out
    if unit != 1:
        microcents = -(-microcents // unit)
    return tokens_in, tokens_out, microcents, names_maximum


def _tokens_of(messages: Any) -> int | None:
    """The most tokens of plain messages; None for any other prompt. A token has at least a byte."""
    if type(messages) is not list or len(messages) > _MOST_MESSAGES:
        return None
    tokens = FRAMING + REPLY + (FRAMING_PER_MESSAGE + PER_MESSAGE) * len(messages)
    for message in messages:
        if type(message) is not dict or len(message) != _FIELDS_OF_A_MESSAGE:
            return None
        role, content = message.get("role"), message.get("content")
        if type(role) is not str or type(content) is not str:
            return None
        # Plain letters take a byte each: most calls save the look at the rest.
        tokens += len(role) + (len(content) if content.isascii() else bytes_of(content))
    return tokens


def bytes_of(text: str) -> int:
    """The bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=512)
def _usual_model(model: str) -> CusUsualModel | None:
    info, pricing = get_model_info(model), get_model_pricing(model)
    if pricing is None or not info.context_window or info.max_output is None:
        return None
    price_in = pricing.cost_microcents(CusTokenUsage(_UNIT, 0))
    price_out = pricing.cost_microcents(CusTokenUsage(0, _UNIT))
    if not _is_linear(pricing, price_in, price_out):
        return None
    unit = _UNIT
    if not (price_in % _UNIT or price_out % _UNIT):
        # Most prices are of whole microcents a token, which needs no division.
        price_in, price_out, unit = price_in // _UNIT, price_out // _UNIT, 1
    return info.context_window, info.max_output, price_in, price_out, unit


def _is_linear(pricing: CusModelPricing, price_in: int, price_out: int) -> bool:
    """Whether each token costs the same, whatever their number, and nothing else costs anything."""
    return all(
        pricing.cost_microcents(CusTokenUsage(tokens_in, tokens_out))
        == -(-(tokens_in * price_in + tokens_out * price_out) // _UNIT)
        for tokens_in, tokens_out in _SAMPLES
    )
