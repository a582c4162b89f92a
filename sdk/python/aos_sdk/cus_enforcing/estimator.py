"""What to ask for a call: its bound; and where that does not fit, its count, and a smaller output."""

from collections.abc import Callable
from typing import Final

from aos_sdk.cus_enforcing.asked import CusAsked
from aos_sdk.cus_enforcing.clamping import clamped_output, maximum_name, thinks_longer
from aos_sdk.cus_enforcing.configuration import CusKnownConfiguration
from aos_sdk.cus_enforcing.decisions import EnforcementDecision
from aos_sdk.cus_enforcing.estimates import CusEstimate, estimate_call
from aos_sdk.cus_enforcing.gated_call import CusGatedCall
from aos_sdk.cus_guard import never_raise

# A budget and a limit of tokens may both lower an output.
_MOST_CLAMPS: Final = 2

# What to ask instead of what was refused; None where there is nothing closer.
CusCloser = Callable[[CusGatedCall, CusAsked, EnforcementDecision], CusAsked | None]


class CusEstimator:
    """Estimates calls by what is known of the integration (rulings F3 and F3b)."""

    def __init__(self, known: CusKnownConfiguration, guard: never_raise) -> None:
        self._known = known
        self._guard = guard

    @property
    def closer(self) -> tuple[CusCloser, ...]:
        """What to try in turn for a call of which only the estimate does not fit."""
        return (self._counted, *[self._clamped] * _MOST_CLAMPS)

    def estimate(
        self, call: CusGatedCall, *, counted: bool = False, by_list: bool = False
    ) -> CusEstimate | None:
        """A bound of the call; None where that fails, and the server estimates.

        `counted`: by the tokenizer. `by_list`: by the list's prices, whoever has prices of its own.
        """
        own_prices = not by_list and self._known.has_own_prices(call.model)
        with self._guard:
            return estimate_call(
                call.operation,
                call.model,
                call.arguments,
                own_prices=own_prices,
                counted=counted,
                learned=self._known.learned_output(call.model, call.operation),
            )
        return None

    def _counted(
        self, call: CusGatedCall, asked: CusAsked, _decision: EnforcementDecision
    ) -> CusAsked | None:
        """The bound does not fit: what to ask by the prompt's own count, if that is less."""
        estimate = self.estimate(call, counted=True)
        if estimate is None or asked.tokens is None or estimate.tokens >= asked.tokens:
            return None
        return asked.with_estimate(estimate)

    def _clamped(
        self, call: CusGatedCall, asked: CusAsked, decision: EnforcementDecision
    ) -> CusAsked | None:
        """The output maximum is lowered to what the room pays for: what to ask then (ruling F3b)."""
        if not (call.can_clamp and self._known.clamps):
            return None
        arguments = call.arguments
        name = maximum_name(call.operation, call.provider, arguments)
        if name is None:
            return None
        own_prices = self._known.has_own_prices(call.model)

        def bound(output: int) -> CusEstimate | None:
            changed = {**arguments, name: output}
            return estimate_call(call.operation, call.model, changed, own_prices=own_prices)

        output = clamped_output(decision, bound)
        before = arguments.get(name)
        if output is None or (type(before) is int and output >= before):
            return None
        if thinks_longer(arguments, output):
            return None
        arguments[name] = output
        call.note_clamped(output)
        return asked.with_estimate(bound(output))
