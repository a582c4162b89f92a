"""A call as the gate knows it: what it names, and what its record says of the decision on it."""

from collections.abc import Mapping
from typing import Any, Protocol

from aos_sdk.cus_delivery.ended_call import CusReserved
from aos_sdk.cus_enforcing.asked import CusAsked
from aos_sdk.cus_enforcing.decisions import EnforcementDecision, EnforcementResult
from aos_sdk.cus_enforcing.lease import CusLease
from aos_sdk.cus_enforcing.run_budget import CusRun
from aos_sdk.cus_enforcing.runs import CusPricedCall
from aos_sdk.cus_errors import CusLimitExceeded
from aos_sdk.cus_wire import CusOperation, CusPolicyResult


class CusDecidedCall(Protocol):
    """What a call's record says of the decision on it."""

    policy_result: CusPolicyResult
    degraded: bool
    decision: Mapping[str, Any] | None


class CusGatedCall(CusDecidedCall, CusPricedCall, Protocol):
    """What the gate knows of a call."""

    call_id: str | None
    operation: CusOperation | None
    agent_id: str | None
    session_id: str | None
    end_user: str | None
    tags: tuple[str, ...] | None
    arguments: dict[str, Any]
    admitted: CusAsked | CusLease | None
    reserved: CusReserved | None
    run: CusRun | None
    is_named: bool
    can_clamp: bool

    @property
    def gate(self) -> object:
        """The gate that it passes, if any."""

    @property
    def outer(self) -> "CusGatedCall | None":
        """The call of which this call is a part."""

    def note_clamped(self, output: int) -> None:
        """The call's arguments now ask for so much output at most."""

    def block(self, error: CusLimitExceeded) -> None:
        """End the call before it begins, and report it as blocked."""


def note_decision(call: CusDecidedCall, decision: EnforcementDecision) -> None:
    """Let a call's record say that it was warned, and what the SDK decided itself (ruling F9)."""
    if decision.result == EnforcementResult.WARNED:
        call.policy_result = CusPolicyResult.WARNED
    # What the server decided without its evidence may be in no log of the server's either.
    if decision.degraded or (decision.decided_by == "sdk" and not decision.admits):
        call.degraded, call.decision = decision.degraded, decision.as_json()


def asked_of(call: CusGatedCall) -> CusAsked:
    """What the call's record will name: what the calls around it say comes first."""
    asked = CusAsked("", call.model or None)
    part: CusGatedCall | None = call
    while part is not None:
        asked = asked._replace(
            agent_id=part.agent_id or asked.agent_id,
            session_id=part.session_id or asked.session_id,
            end_user=part.end_user or asked.end_user,
            tags=part.tags or asked.tags,
            run=part.run or asked.run,
        )
        part = part.outer
    return asked


def is_named(call: CusGatedCall | None) -> bool:
    """Whether the program has chosen the id of the record of a call that is a part of this one."""
    part = call
    while part is not None:
        if part.is_named:
            return True
        part = part.outer
    return False


def id_of_outer(call: CusGatedCall) -> str | None:
    """The id of the outermost call that this call is a part of: their record has that id."""
    call_id, outer = None, call.outer
    while outer is not None:
        call_id, outer = outer.call_id, outer.outer
    return call_id
