"""Every exception of the SDK.

CusError
├── CusConfigurationError      no usable key or address: the reporter stays inert
├── CusSpoolRefused            `doctor --adopt`: a folder's records can't be taken over
├── CusProviderError           an adapter was asked for what it cannot do; no call was made
├── CusLimitExceeded           the only one that a captured call may raise in the host
│   ├── CusHardBlocked         the integration does not serve, or no call may run uncounted
│   ├── CusBlocked             a budget or a token limit has no room for the call
│   └── CusThrottled           a rate limit, or a server that is too busy: a later try may succeed
└── CusDeliveryError           never raised at the host: handed to `on_error`
    ├── CusDeliveryDelayed     the server cannot be reached or asks to wait; records are kept
    ├── CusKeyRefused          the server refuses the key; records are kept
    ├── CusLimitsUnchecked     the server can't tell whether calls may run: limits are not checked
    ├── CusSpoolUnavailable    no folder can hold the spool: records wait in memory alone
    └── CusRecordRefused       the server refuses one record for good
CusUnknownModel (ValueError)   is a part of the prices, which import nothing else of ours
CusLimitWarning (UserWarning)  a limit is nearly used up
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aos_sdk.cus_enforcing.decisions import EnforcementDecision, EnforcementReason


class CusError(Exception):
    """Base of the SDK's own exceptions."""


class CusConfigurationError(CusError):
    """The SDK cannot report with this configuration; the message says what to change."""


class CusSpoolRefused(CusError):
    """The records of a folder can't be taken over; the text says why. All of them stay there."""


class CusProviderError(CusError):
    """An adapter can't do this; it made no call."""


class CusLimitExceeded(CusError):
    """A limit, or the state, of the integration stops this call; it was not made.

    The text says in a sentence what happened, what to do, and where to look. `decision` has the
    reasons, with the limit and what was used of it; `reason` is the first. What this class tells of
    a limit is that reason's, and None where no limit is the reason. A program may catch the error,
    and make the call again once `resets_at` has come or a person has raised the limit.
    """

    def __init__(self, text: str = "", decision: "EnforcementDecision | None" = None) -> None:
        super().__init__(text)
        self.decision = decision

    @property
    def reason(self) -> "EnforcementReason | None":
        """The first reason."""
        reasons = self.decision.reasons if self.decision else ()
        return reasons[0] if reasons else None

    @property
    def error_code(self) -> str | None:
        """The refused call's `error_code` (ruling E6); of a blocked call the reason's code."""
        return self.reason.code if self.reason else None

    @property
    def retry_after_seconds(self) -> int | None:
        """When a later try may succeed; None if the decision does not say."""
        return self.decision.retry_after_seconds if self.decision else None

    @property
    def resets_at(self) -> "datetime | None":
        """When a later try may succeed; None for a limit that ends with nothing but an increase."""
        seconds = self.retry_after_seconds
        if self.decision is None or seconds is None:
            return None
        return self.decision.evaluated_at + timedelta(seconds=seconds)

    @property
    def left(self) -> int | None:
        """What calls may still use of the limit, in its `unit`."""
        return self.reason.left if self.reason else None

    @property
    def unit(self) -> str | None:
        """What the limit counts: `cents`, `tokens` or `calls`."""
        return self.reason.unit if self.reason else None

    @property
    def limit_id(self) -> str | None:
        """The id of a limit at a scope; None for the integration's own limits."""
        return self.reason.limit_id if self.reason else None

    @property
    def scope(self) -> str | None:
        """What a limit at a scope counts together, such as `session_id`."""
        return self.reason.scope if self.reason else None

    @property
    def scope_value(self) -> str | None:
        """Whose calls the limit counts: the session's, agent's, end user's or model's name."""
        return self.reason.scope_value if self.reason else None

    @property
    def window(self) -> str | None:
        """The time over which the limit counts: `minute`, `day`, `week`, `month` or `life`."""
        return self.reason.window if self.reason else None

    def __reduce__(self) -> "tuple[type[CusLimitExceeded], tuple[str, EnforcementDecision | None]]":
        return (type(self), (str(self), self.decision))


class CusHardBlocked(CusLimitExceeded):
    """The integration does not serve: it is not enabled, in error, or its credential is invalid."""

    error_code = "cus_hard_blocked"


class CusBlocked(CusLimitExceeded):
    """A budget or a token limit has no room for this call."""


class CusThrottled(CusLimitExceeded):
    """Too many calls at once; `retry_after_seconds` says when to try again."""

    error_code = "cus_throttled"


class CusLimitWarning(UserWarning):
    """A limit of the integration is nearly used up; calls still run."""


_KINDS: Final[dict[str, type[CusLimitExceeded]]] = {
    "hard_blocked": CusHardBlocked,
    "blocked": CusBlocked,
    "throttled": CusThrottled,
}


def limit_error(
    decision: "EnforcementDecision", link: str, *, names_maximum: bool = True
) -> CusLimitExceeded:
    """The error for a call that may not run. `link` leads to its evidence in the console.

    `names_maximum`: the call said how much it may answer at most.
    """
    first = decision.reasons[0] if decision.reasons else None
    parts = [first.message if first and first.message else "A limit stops this call."]
    tells = first is not None and first.code == "estimate_exceeds_room"
    if decision.rests_on_estimate and not tells:
        asks = "Ask for less by max_tokens" if names_maximum else "Set max_tokens"
        parts.append(f"{asks}: what was used leaves room, only the call's estimate does not fit.")
    if first and first.action:
        parts.append(f"{first.action}.")
    parts.append(f"See {link}")
    kind = _KINDS.get(decision.result.value, CusLimitExceeded)
    return kind(" ".join(parts), decision)


class CusDeliveryError(CusError):
    """A problem with sending telemetry, for `on_error`."""


class CusDeliveryDelayed(CusDeliveryError):
    """Telemetry cannot be delivered now; it is kept and tried again."""


class CusKeyRefused(CusDeliveryError):
    """The server refuses the integration key; telemetry is kept and tried again every minute."""


class CusLimitsUnchecked(CusDeliveryError):
    """Calls run without a check of their limits; the text says why."""


class CusSpoolUnavailable(CusDeliveryError):
    """Records wait in memory alone, and are lost if the process is killed; the text says why."""


class CusRecordRefused(CusDeliveryError):
    """The server will not store this record: `status` is `rejected` or `conflict`.

    `attr` names the field, `code` and `detail` the reason, in the server's words.
    """

    def __init__(self, call_id: str, status: str, code: str, detail: str, attr: str) -> None:
        super().__init__(f"usage record {call_id} was {status}: {detail or code}")
        self.call_id = call_id
        self.status = status
        self.code = code
        self.detail = detail
        self.attr = attr
