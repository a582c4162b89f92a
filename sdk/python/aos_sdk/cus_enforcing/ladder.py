"""Decisions without the server: by the configuration last known (rulings F6 and F6b).

Status is authority and fails closed. Usage is counted by the server alone: without it, limits are
not checked, and the decision says so.
"""

from collections.abc import Mapping
from typing import Any, Final

from aos_sdk.cus_enforcing.decisions import (
    EnforcementDecision,
    EnforcementReason,
    EnforcementResult,
)
from aos_sdk.cus_wire import CusReasonCode

# At these levels no limit refuses or warns (§15.4).
_LEVELS_WITHOUT_LIMITS: Final = frozenset({"visibility", "control_plane"})
# Of the levels that heed limits, these never block (§15.4).
_CAPS: Final = {
    "warn": EnforcementResult.ALLOWED,
    "throttle": EnforcementResult.THROTTLED,
}
# The limits of a configuration, by the names of its fields. 0 means unlimited.
_LIMITS: Final = ("budget_limit_cents", "token_limit_month", "rate_limit_rpm")
_ENABLED: Final = "enabled"

_ALL_PASSED: Final = EnforcementReason(
    CusReasonCode.ALL_CHECKS_PASSED, "All checks passed.", "None needed"
)
_UNCHECKED: Final = EnforcementReason(
    CusReasonCode.EVIDENCE_UNAVAILABLE,
    "The AOS server could not be asked, so limits were not checked.",
    "None needed; the call is counted when it is reported",
)
_UNKNOWN: Final = EnforcementReason(
    CusReasonCode.STATE_UNKNOWN,
    "The integration's state is not known: the AOS server could not be asked yet.",
    "Check AOS_BASE_URL and the network, for instance with python -m aos_sdk doctor",
)
_BUSY: Final = EnforcementReason(
    CusReasonCode.CONTENTION,
    "The AOS server is too busy to decide.",
    "Wait 1 s and try again",
    retry_after_seconds=1,
)


def status_reason(configuration: Mapping[str, Any]) -> EnforcementReason | None:
    """Why no call may run, whatever was used (checks 1 to 3 of §15.1)."""
    status = configuration.get("status")
    if status == "error":
        return EnforcementReason(
            CusReasonCode.INTEGRATION_ERROR,
            "The integration is in error; its health message says why.",
            "Fix health issue",
        )
    if status != _ENABLED:
        code = (
            CusReasonCode.INTEGRATION_NOT_ENABLED
            if status == "created"
            else CusReasonCode.INTEGRATION_DISABLED
        )
        return EnforcementReason(code, "The integration is not enabled.", "Enable integration")
    if configuration.get("credential_state") == "invalid":
        return EnforcementReason(
            CusReasonCode.CREDENTIALS_INVALID,
            "The provider does not accept the integration's credential.",
            "Rotate credentials",
        )
    return None


def heeds_limits(configuration: Mapping[str, Any]) -> bool:
    """Whether limits refuse or warn at the integration's level (§15.4)."""
    return configuration.get("enforcement_level") not in _LEVELS_WITHOUT_LIMITS


def has_limits(configuration: Mapping[str, Any]) -> bool:
    """Whether usage has to be checked before a call: there is a limit, and the level heeds it."""
    if not heeds_limits(configuration):
        return False
    # A newer server may have limits that this release does not know, so the server says it.
    is_limited = configuration.get("is_limited")
    if isinstance(is_limited, bool):
        return is_limited
    return any(configuration.get(name) for name in _LIMITS)


def admitted(configuration: Mapping[str, Any], call_id: str) -> EnforcementDecision:
    """The call may run: the configuration is fresh, serves, and has no limit."""
    return _decision(EnforcementResult.ALLOWED, _ALL_PASSED, call_id, configuration)


def without_server(
    configuration: Mapping[str, Any] | None,
    call_id: str,
    *,
    must_know: bool,
    must_check: bool,
    stopped: str | None = None,
) -> EnforcementDecision:
    """The decision while the server is away. `stopped` says why a person has stopped the call.

    `must_know` refuses where no state was ever known; `must_check` refuses where limits can't be
    checked, as far as the integration's level refuses at all (§15.4).
    """
    if configuration is None:
        refuses = must_know or must_check
        result = EnforcementResult.HARD_BLOCKED if refuses else EnforcementResult.ALLOWED
        return _decision(result, _UNKNOWN, call_id, None, degraded=True)
    found = status_reason(configuration)
    if found is not None:
        return _decision(EnforcementResult.HARD_BLOCKED, found, call_id, configuration)
    if stopped is not None:
        reason = EnforcementReason(CusReasonCode.STOPPED, stopped, "Have the stop lifted")
        return _decision(EnforcementResult.HARD_BLOCKED, reason, call_id, configuration)
    if not has_limits(configuration):
        return admitted(configuration, call_id)
    result = _hardest(configuration) if must_check else EnforcementResult.ALLOWED
    return _decision(result, _UNCHECKED, call_id, configuration, degraded=True)


def refused_check(
    configuration: Mapping[str, Any], call_id: str, detail: str
) -> EnforcementDecision:
    """The server refuses the check itself, for instance an invalid call id.

    The call's record would be refused, too: where limits refuse calls, it may not run uncounted.
    """
    reason = EnforcementReason(
        CusReasonCode.EVIDENCE_UNAVAILABLE,
        f"The AOS server can't check this call, so limits were not checked: {detail}",
        "Correct what the message names",
    )
    return _decision(_hardest(configuration), reason, call_id, configuration, degraded=True)


def over_run(
    configuration: Mapping[str, Any] | None, call_id: str, reason: EnforcementReason
) -> EnforcementDecision:
    """A budget in code has no room for the call, as far as this process knows."""
    result = EnforcementResult.BLOCKED if configuration is None else _hardest(configuration)
    return _decision(result, reason, call_id, configuration)


def _hardest(configuration: Mapping[str, Any]) -> EnforcementResult:
    """How hard a limit may refuse at the integration's level."""
    level = str(configuration.get("enforcement_level"))
    return _CAPS.get(level, EnforcementResult.BLOCKED)


def too_busy(configuration: Mapping[str, Any] | None, call_id: str) -> EnforcementDecision:
    """The server was too busy for as long as the call could wait."""
    return _decision(EnforcementResult.THROTTLED, _BUSY, call_id, configuration)


def _decision(
    result: EnforcementResult,
    reason: EnforcementReason,
    call_id: str,
    configuration: Mapping[str, Any] | None,
    *,
    degraded: bool = False,
) -> EnforcementDecision:
    known = configuration or {}
    version, level = known.get("config_version"), known.get("enforcement_level")
    return EnforcementDecision(
        result=result,
        call_id=call_id,
        reasons=(reason,),
        degraded=degraded,
        retry_after_seconds=reason.retry_after_seconds,
        enforcement_level=level if isinstance(level, str) else None,
        config_version=version if type(version) is int else None,
        decided_by="sdk",
    )
