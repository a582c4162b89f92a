"""A call that wants to run, as the server is asked about it; and how calls are enforced."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from aos_sdk.cus_enforcing.estimates import CusEstimate
from aos_sdk.cus_enforcing.run_budget import CusRun
from aos_sdk.cus_guard import plain_text
from aos_sdk.cus_tags import clean_tags
from aos_sdk.cus_wire import (
    MAX_AGENT_ID_LENGTH,
    MAX_END_USER_LENGTH,
    MAX_MODEL_LENGTH,
    MAX_SESSION_ID_LENGTH,
)

CusEnforceMode = bool | Literal["auto", "check"]
CusOnUnavailable = Literal["allow", "block"]
CusOnThrottle = Literal["raise", "wait"]


@dataclass(frozen=True, slots=True)
class CusEnforcing:
    """How calls are enforced in this process (§6.2, ruling F6b).

    `enforce` is `"auto"` (as the integration's configuration says; a call runs where no state was
    ever known), True (no call runs without a known state) or `"check"` (the server decides on every
    call). `contention_seconds` is how long a call waits for a server that is too busy.
    """

    enforce: CusEnforceMode = "auto"
    on_unavailable: CusOnUnavailable = "allow"
    throttle: CusOnThrottle = "raise"
    contention_seconds: float = 2.0


class CusAsked(NamedTuple):
    """A call that wants to run. None means that the server is to estimate it.

    `is_named` says that the program has chosen the call id, so that no other call may have it.
    """

    call_id: str
    model: str | None = None
    tokens: int | None = None
    cents: int | None = None
    microcents: int | None = None
    reserve: bool = True
    is_named: bool = False
    agent_id: str | None = None
    session_id: str | None = None
    end_user: str | None = None
    tags: tuple[str, ...] | None = None
    # The budget in code of its session.
    run: CusRun | None = None
    # Its cost by the list's prices, for that budget's count here, where only the server knows better.
    list_cents: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The body of the check."""
        body = {
            "call_id": self.call_id,
            "model": self.model[:MAX_MODEL_LENGTH] if self.model else None,
            "estimated_tokens": self.tokens,
            "estimated_cost_cents": self.cents,
            "estimated_cost_microcents": self.microcents,
            "reserve": self.reserve,
            "agent_id": _cut(self.agent_id, MAX_AGENT_ID_LENGTH),
            "session_id": _cut(self.session_id, MAX_SESSION_ID_LENGTH),
            "end_user": _cut(self.end_user, MAX_END_USER_LENGTH),
            "tags": clean_tags(self.tags) if self.tags else None,
            "run": self.run.as_json() if self.run is not None else None,
        }
        return {name: value for name, value in body.items() if value is not None}

    def with_estimate(self, estimate: CusEstimate | None) -> "CusAsked":
        """The same call with the amounts of this estimate, if there is one."""
        if estimate is None:
            return self
        return self._replace(
            tokens=estimate.tokens, cents=estimate.cents, microcents=estimate.microcents
        )

    def covers(self, other: "CusAsked") -> bool:
        """Whether what is held for this call is enough for another of the same model and names."""
        return _whose(self) == _whose(other) and all(
            # The server estimates two calls of a model alike if neither says an amount.
            held == wanted or (held is not None and wanted is not None and held > wanted)
            for held, wanted in ((self.tokens, other.tokens), (self.microcents, other.microcents))
        )


def _whose(asked: CusAsked) -> tuple[object, ...]:
    return (asked.model, asked.agent_id, asked.session_id, asked.end_user, asked.tags, asked.run)


def _cut(name: object, length: int) -> str | None:
    """A name as the call's record will have it."""
    return plain_text(str(name), length) if name else None
