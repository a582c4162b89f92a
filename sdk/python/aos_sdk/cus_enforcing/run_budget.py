"""A budget in code: a limit of a session that a program names itself."""

from typing import NamedTuple


class CusRun(NamedTuple):
    """The most that a session may use, in cents, tokens and calls; None for no limit.

    `made_id` is the session where neither the program nor its configuration names one.
    """

    cents: int | None = None
    tokens: int | None = None
    calls: int | None = None
    made_id: str = ""

    def as_json(self) -> dict[str, int]:
        """`run` of a check."""
        amounts = {"cents": self.cents, "tokens": self.tokens, "calls": self.calls}
        return {unit: amount for unit, amount in amounts.items() if amount is not None}

    @property
    def units(self) -> frozenset[str]:
        """The units that it limits."""
        return frozenset(self.as_json())

    def least(self, other: "CusRun | None") -> "CusRun":
        """Both budgets of one session: of each unit, the smaller counts."""
        if other is None:
            return self
        cents, tokens, calls = (
            min((one for one in pair if one is not None), default=None)
            for pair in zip(self[:3], other[:3], strict=True)
        )
        return CusRun(cents, tokens, calls, self.made_id)
