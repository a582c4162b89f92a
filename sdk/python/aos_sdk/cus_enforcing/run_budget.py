"""A budget in code: a limit of a session that a program names itself."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class CusRun(NamedTuple):
    """The most that a session may use, in cents, tokens and calls; None for no limit.

    `made_id` is the session where neither the program nor its configuration names one.
    """

    cents: int | None = None
    tokens: int | None = None
    calls: int | None = None
    made_id: str = ""

    @classmethod
    def read(cls, content: Any) -> "CusRun | None":
        """What a server's answer tells of a session's budget; None where it tells nothing."""
        if not isinstance(content, Mapping):
            return None
        cents, tokens, calls = (
            amount if type(amount := content.get(unit)) is int else None
            for unit in ("cents", "tokens", "calls")
        )
        return cls(cents, tokens, calls)

    @property
    def amounts(self) -> tuple[int | None, int | None, int | None]:
        """Cents, tokens and calls."""
        return self.cents, self.tokens, self.calls

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
            for pair in zip(self.amounts, other.amounts, strict=True)
        )
        return CusRun(cents, tokens, calls, self.made_id)


class CusRunUse(NamedTuple):
    """What calls of a session use: cents, each call's rounded up (M2); tokens; calls."""

    cents: int = 0
    tokens: int = 0
    calls: int = 1
