"""What a decision says to people: what happened, and what to do about it (§15.3)."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from aos_sdk.cus_cost import MICROCENTS_PER_CENT, format_cost
from aos_sdk.cus_wire import CusReasonCode as Code

if TYPE_CHECKING:
    from enforcement.cus_precedence import Authority, Facts, Usage


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One reason of a decision. Values are cents, tokens or calls a minute, by `limit_type`."""

    code: Code
    message: str
    action: str
    limit_type: str | None = None
    limit_value: int | None = None
    current_value: int | None = None
    held_value: int | None = None
    threshold_percent: int | None = None
    retry_after_seconds: int | None = None


def period_end(moment: datetime) -> datetime:
    """When the month of a moment ends, in UTC: then budgets and token limits start anew."""
    at = moment.astimezone(UTC)
    years, month = divmod(at.month, 12)
    return datetime(at.year + years, month + 1, 1, tzinfo=UTC)


# --- Checks 1 to 3 ------------------------------------------------------------------------------


def state_unknown() -> Reason:
    """No state of the integration is known here (ruling F6)."""
    return Reason(
        code=Code.STATE_UNKNOWN,
        message="The integration's state is not known: the database can't be reached, and this "
        "server has not seen the integration before.",
        action="Try again when the service has recovered",
    )


def integration_not_found() -> Reason:
    """It was deleted."""
    return Reason(
        code=Code.INTEGRATION_NOT_FOUND,
        message="The integration was deleted.",
        action="Use a key of another integration",
    )


def integration_not_enabled() -> Reason:
    """It was never enabled (ruling F1)."""
    return Reason(
        code=Code.INTEGRATION_NOT_ENABLED,
        message="The integration has not been enabled yet.",
        action="Enable integration",
    )


def integration_disabled() -> Reason:
    """Somebody disabled it."""
    return Reason(
        code=Code.INTEGRATION_DISABLED,
        message="The integration is disabled.",
        action="Enable integration",
    )


NOT_SERVING: Final = {"created": integration_not_enabled, "disabled": integration_disabled}


def integration_error() -> Reason:
    """Its status is `error`."""
    return Reason(
        code=Code.INTEGRATION_ERROR,
        message="The integration is in error; its health message says why.",
        action="Fix health issue",
    )


def credentials_invalid() -> Reason:
    """The provider refused its credential, or it can't be read (ruling F2)."""
    return Reason(
        code=Code.CREDENTIALS_INVALID,
        message="The provider does not accept the integration's credential.",
        action="Rotate credentials",
    )


# --- At the door of check 4 ---------------------------------------------------------------------


def call_recorded(call_id: str) -> Reason:
    """The id was used (ruling F5)."""
    return Reason(
        code=Code.CALL_RECORDED,
        message=f"A call with the id {call_id} is known already, so this one would not be counted.",
        action="Use a new call_id for each call",
    )


def contention(seconds: int) -> Reason:
    """The integration's lock could not be had in time (ruling F6)."""
    return Reason(
        code=Code.CONTENTION,
        message="Too many checks of this integration at once.",
        action=f"Wait {seconds} s and try again",
        retry_after_seconds=seconds,
    )


def holds_exceeded(bound: int, running: int, seconds: int) -> Reason:
    """As many calls run as may be held for at once (ruling F5b): load, as contention is."""
    return Reason(
        code=Code.CONTENTION,
        message=f"{running:,} calls of this integration are held for, and at most {bound:,} may be "
        "at once. A hold ends when its call is reported.",
        action=f"Report calls that ended, wait {seconds} s and try again, or have an operator "
        "raise the bound",
        limit_type="holds",
        limit_value=bound,
        current_value=running,
        retry_after_seconds=seconds,
    )


def evidence_unavailable() -> Reason:
    """Usage could not be read (§15.5)."""
    return Reason(
        code=Code.EVIDENCE_UNAVAILABLE,
        message="Usage could not be read, so limits were not checked.",
        action="None needed; the call is counted when it is reported",
    )


# --- Checks 4 to 9 ------------------------------------------------------------------------------


def model_unpriced(model: str | None, limit_type: str, limit: int) -> Reason:
    """Nothing says what the call may cost, or how many tokens it may take (ruling F3)."""
    name = f"The model {model}" if model else "A call that names no model"
    lacks = "price" if limit_type == "budget" else "known context window"
    return Reason(
        code=Code.MODEL_UNPRICED,
        message=f"{name} has no {lacks}, so its calls can't be held against the limit.",
        action="Add a price for the model, name a default model, or allow unpriced models",
        limit_type=limit_type,
        limit_value=limit,
    )


def budget_exceeded(facts: "Facts", authority: "Authority", usage: "Usage") -> Reason:
    """The month's budget has no room for the call."""
    used, held = _spent(authority, usage)
    estimate = _cents(facts.estimate[authority.is_exact], exact=authority.is_exact)
    return _exceeded(
        Code.BUDGET_EXCEEDED,
        f"The monthly budget of {format_cost(authority.budget_limit_cents)} has no room: "
        f"{format_cost(used)} used, {format_cost(held)} held by running calls, and this call may "
        f"cost {format_cost(estimate)}.",
        ("budget", authority.budget_limit_cents, used, held),
        facts.evaluated_at,
    )


def token_limit_exceeded(facts: "Facts", authority: "Authority", usage: "Usage") -> Reason:
    """The month's tokens have no room for the call."""
    limit, used = authority.token_limit_month, usage.used.tokens
    held = usage.taken.tokens - used
    return _exceeded(
        Code.TOKEN_LIMIT_EXCEEDED,
        f"The monthly limit of {limit:,} tokens has no room: {used:,} used, {held:,} held by "
        f"running calls, and this call may take {facts.estimate.tokens:,}.",
        ("tokens", limit, used, held),
        facts.evaluated_at,
    )


def rate_limit_exceeded(limit: int, admitted: int, seconds: int) -> Reason:
    """As many calls as a minute may have were let in within the last one (ruling F4)."""
    return Reason(
        code=Code.RATE_LIMIT_EXCEEDED,
        message=f"{admitted:,} calls began within the last 60 seconds; the limit is {limit:,}.",
        action=f"Wait {seconds} s",
        limit_type="rate",
        limit_value=limit,
        current_value=admitted,
        retry_after_seconds=seconds,
    )


def budget_warning(authority: "Authority", usage: "Usage", percent: int) -> Reason:
    """The month's budget is nearly used."""
    used, held = _spent(authority, usage)
    limit = authority.budget_limit_cents
    return Reason(
        code=Code.BUDGET_WARNING,
        message=f"{format_cost(used)} used and {format_cost(held)} held of the monthly budget of "
        f"{format_cost(limit)}: {percent} % or more.",
        action="Increase limit, or expect calls to be blocked",
        limit_type="budget",
        limit_value=limit,
        current_value=used,
        held_value=held,
        threshold_percent=percent,
    )


def token_warning(authority: "Authority", usage: "Usage", percent: int) -> Reason:
    """The month's tokens are nearly used."""
    limit, used = authority.token_limit_month, usage.used.tokens
    held = usage.taken.tokens - used
    return Reason(
        code=Code.TOKEN_WARNING,
        message=f"{used:,} used and {held:,} held of {limit:,} monthly tokens: "
        f"{percent} % or more.",
        action="Increase limit, or expect calls to be blocked",
        limit_type="tokens",
        limit_value=limit,
        current_value=used,
        held_value=held,
        threshold_percent=percent,
    )


def all_checks_passed() -> Reason:
    """Nothing stands in the way."""
    return _PASSED


_PASSED: Final = Reason(
    code=Code.ALL_CHECKS_PASSED, message="All checks passed.", action="None needed"
)


def _exceeded(code: Code, message: str, values: tuple[str, int, int, int], now: datetime) -> Reason:
    end = period_end(now)
    limit_type, limit, used, held = values
    return Reason(
        code=code,
        message=message,
        action=f"Increase limit or wait until {end.day} {end:%B}",
        limit_type=limit_type,
        limit_value=limit,
        current_value=used,
        held_value=held,
        retry_after_seconds=int((end - now).total_seconds()) + 1,
    )


def _spent(authority: "Authority", usage: "Usage") -> tuple[int, int]:
    """Used, and held and leased together, in cents."""
    unit = authority.is_exact
    used, taken = usage.used[unit], usage.taken[unit]
    return _cents(used, exact=unit), _cents(taken - used, exact=unit)


def _cents(amount: int, *, exact: bool) -> int:
    return -(-amount // MICROCENTS_PER_CENT) if exact else amount
