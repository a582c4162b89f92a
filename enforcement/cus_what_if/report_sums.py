"""Calls of a report, and their money."""

from telemetry.cus_money.amounts import Amounts


class Sum:
    """Calls, and what they cost; of calls that were refused then, what they may have cost."""

    def __init__(self) -> None:
        self.calls = 0
        self.cents = self.microcents = self.tokens = 0

    def add(self, spent: Amounts) -> None:
        """Count a call."""
        self.calls += 1
        self.cents += spent.cents
        self.microcents += spent.microcents
        self.tokens += spent.tokens

    def as_json(self) -> dict[str, int]:
        """As `SimulatedSum` of the API describes it."""
        return {
            "calls": self.calls,
            "counted_cents": self.cents,
            "cost_microcents": self.microcents,
            "tokens": self.tokens,
        }
