"""Lower a request's output maximum to what a limit's room pays for: estimate basis `clamp` (F3b).

The only thing of the SDK's that changes a request, and only where the integration says so.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from aos_sdk.cus_enforcing.decisions import EnforcementDecision
from aos_sdk.cus_enforcing.estimates import OUTPUTS, CusEstimate
from aos_sdk.cus_wire import CusOperation

# A shorter answer is of no use, and some providers refuse to be asked for it.
LEAST_OUTPUT: Final = 16
_BUDGET, _TOKENS = "budget", "tokens"
# These refuse `max_tokens` for their newer models.
_NAMES_COMPLETION: Final = frozenset({"openai", "azure_openai"})


def maximum_name(
    operation: str | None, provider: str | None, arguments: Mapping[str, Any]
) -> str | None:
    """The argument that names a request's output maximum; None for other kinds of requests."""
    for name in OUTPUTS:
        if type(arguments.get(name)) is int:
            return name
    if operation == CusOperation.RESPONSES:
        return "max_output_tokens"
    if operation == CusOperation.COMPLETION:
        return "max_tokens"
    if operation == CusOperation.CHAT:
        return "max_completion_tokens" if provider in _NAMES_COMPLETION else "max_tokens"
    return None


def clamped_output(
    decision: EnforcementDecision, bound: Callable[[int], CusEstimate | None]
) -> int | None:
    """The most output that fits the room that a refusal tells; None if that is too little.

    `bound` is the estimate of the call with so many tokens of output, for each choice.
    """
    first = decision.reasons[0] if decision.reasons else None
    if first is None or first.limit_value is None or first.limit_type not in (_BUDGET, _TOKENS):
        return None
    room = first.limit_value - (first.current_value or 0) - (first.held_value or 0)

    def fits(output: int) -> bool:
        estimate = bound(output)
        if estimate is None:
            return False
        if first.limit_type == _TOKENS:
            return estimate.tokens <= room
        # Cents are rounded up for people, so the room in cents is never more than there is.
        return estimate.microcents is not None and estimate.microcents <= room * MICROCENTS_PER_CENT

    if not fits(LEAST_OUTPUT):
        return None
    fitting, too_large = LEAST_OUTPUT, 2**24
    while too_large - fitting > 1:
        middle = (fitting + too_large) // 2
        if fits(middle):
            fitting = middle
        else:
            too_large = middle
    return fitting


def thinks_longer(arguments: Mapping[str, Any], output: int) -> bool:
    """Whether the request's budget for thinking would not fit the output, which providers refuse."""
    thinking = arguments.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    return type(budget) is int and budget >= output
