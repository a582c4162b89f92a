"""The decision on a call, as the server, or the SDK without the server, has taken it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from aos_sdk.cus_enforcing.run_budget import CusRun
from aos_sdk.cus_wire import CusEnforcementResult as EnforcementResult
from aos_sdk.cus_wire import CusReasonCode

__all__ = ["EnforcementDecision", "EnforcementReason", "EnforcementResult"]

_NUMBERS: Final = (
    "limit_value",
    "current_value",
    "held_value",
    "threshold_percent",
    "retry_after_seconds",
)
_OF_A_SCOPE: Final = ("limit_id", "scope", "scope_value", "window")
# Of the limits' types. Other types, such as `holds`, are of no budget.
_UNITS: Final = {
    "budget": "cents",
    "tokens": "tokens",
    "tpm": "tokens",
    "rate": "calls",
    "rpd": "calls",
}
_ADMITTING: Final = frozenset({EnforcementResult.ALLOWED, EnforcementResult.WARNED})
# A refusal for one of these rests on sums, so with an older server an estimate may be what does not
# fit.
_OF_SUMS: Final = frozenset(
    {CusReasonCode.BUDGET_EXCEEDED.value, CusReasonCode.TOKEN_LIMIT_EXCEEDED.value}
)


@dataclass(frozen=True, slots=True)
class EnforcementReason:
    """One reason of a decision. Values are cents, tokens or calls, by `limit_type`.

    `code` is a word of `CusReasonCode`, or a newer server's. Of a limit at a scope, `limit_id` says
    which, and `scope`, `scope_value` and `window` what it counts together and over which time.
    """

    code: str
    message: str = ""
    action: str = ""
    limit_type: str | None = None
    limit_value: int | None = None
    current_value: int | None = None
    held_value: int | None = None
    threshold_percent: int | None = None
    retry_after_seconds: int | None = None
    limit_id: str | None = None
    scope: str | None = None
    scope_value: str | None = None
    window: str | None = None

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> "EnforcementReason":
        """A reason of the server's answer; what it does not have is None."""
        return cls(
            code=str(answer.get("code", "")),
            message=str(answer.get("message", "")),
            action=str(answer.get("action", "")),
            limit_type=_text(answer.get("limit_type")),
            limit_value=_number(answer.get("limit_value")),
            current_value=_number(answer.get("current_value")),
            held_value=_number(answer.get("held_value")),
            threshold_percent=_number(answer.get("threshold_percent")),
            retry_after_seconds=_number(answer.get("retry_after_seconds")),
            limit_id=_text(answer.get("limit_id")),
            scope=_text(answer.get("scope")),
            scope_value=_text(answer.get("scope_value")),
            window=_text(answer.get("window")),
        )

    @property
    def unit(self) -> str | None:
        """What the limit counts: `cents`, `tokens` or `calls`; None where no limit is the reason."""
        return _UNITS.get(self.limit_type or "")

    @property
    def left(self) -> int | None:
        """What calls may still use of the limit, in its unit; None where no limit is the reason."""
        if self.limit_value is None or self.unit is None:
            return None
        return max(self.limit_value - (self.current_value or 0) - (self.held_value or 0), 0)

    @property
    def is_of_a_run(self) -> bool:
        """Whether a limit of all that a session ever does is the reason, as a budget in code is."""
        return (self.scope, self.window) == ("session_id", "life")

    def as_json(self) -> dict[str, Any]:
        """The reason as the server's log keeps it."""
        return {
            name: value
            for name in ("code", "message", "action", "limit_type", *_NUMBERS, *_OF_A_SCOPE)
            if (value := getattr(self, name)) is not None
        }


def _number(value: Any) -> int | None:
    return value if type(value) is int else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


@dataclass(frozen=True, slots=True)
class EnforcementDecision:
    """Whether a call may run, and why.

    `degraded`: usage could not be checked, so limits were not. `decided_by` is `server` or `sdk`.
    `retry_after_seconds` is set where a later try may succeed. `run_raised` is what a person has
    raised of the session's budget in code; None where the answer does not tell.
    """

    result: EnforcementResult
    call_id: str
    reasons: tuple[EnforcementReason, ...] = ()
    degraded: bool = False
    retry_after_seconds: int | None = None
    enforcement_level: str | None = None
    config_version: int | None = None
    decided_by: str = "server"
    evaluated_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    run_raised: CusRun | None = None

    @classmethod
    def read(cls, answer: Mapping[str, Any], call_id: str) -> "EnforcementDecision":
        """The decision in the server's answer to a check."""
        reasons = answer.get("reasons")
        reasons = reasons if isinstance(reasons, list) else []
        level = answer.get("enforcement_level")
        return cls(
            result=_result(answer),
            call_id=call_id,
            reasons=tuple(
                EnforcementReason.read(reason) for reason in reasons if isinstance(reason, Mapping)
            ),
            degraded=answer.get("degraded") is True,
            retry_after_seconds=_number(answer.get("retry_after_seconds")),
            enforcement_level=level if isinstance(level, str) else None,
            config_version=_number(answer.get("config_version")),
            run_raised=CusRun.read(answer.get("run_raised")),
        )

    @property
    def admits(self) -> bool:
        """Whether the call may run."""
        return self.result in _ADMITTING

    @property
    def is_contention(self) -> bool:
        """Whether the server was too busy to decide, so that a try a moment later may succeed."""
        return self.result == EnforcementResult.THROTTLED and self.has(CusReasonCode.CONTENTION)

    @property
    def rests_on_estimate(self) -> bool:
        """Whether what was used and held leaves room, and only the call's estimate does not fit."""
        if self.admits or not self.reasons:
            return False
        if self.reasons[0].code == CusReasonCode.ESTIMATE_EXCEEDS_ROOM.value:
            return True
        if self.reasons[0].code not in _OF_SUMS:
            return False
        first = self.reasons[0]
        taken = (first.current_value or 0) + (first.held_value or 0)
        return first.limit_value is not None and taken < first.limit_value

    def has(self, code: CusReasonCode) -> bool:
        """Whether this is one of the reasons."""
        return any(reason.code == code.value for reason in self.reasons)

    def as_json(self) -> dict[str, Any]:
        """The decision as the call's record carries it (ruling F9)."""
        return {
            "result": self.result.value,
            "reasons": [reason.as_json() for reason in self.reasons],
            "degraded": self.degraded,
            "decided_by": self.decided_by,
            "evaluated_at": self.evaluated_at.isoformat(),
            "config_version": self.config_version,
            "enforcement_level": self.enforcement_level,
        }


def _result(answer: Mapping[str, Any]) -> EnforcementResult:
    """The result; of a newer server's word, what that server did: it holds for an admitted call."""
    try:
        return EnforcementResult(str(answer.get("result")))
    except ValueError:
        if answer.get("hold_expires_at") is not None:
            return EnforcementResult.ALLOWED
        if answer.get("retry_after_seconds") is not None:
            return EnforcementResult.THROTTLED
        return EnforcementResult.BLOCKED
