"""The reasons of decisions, for people: what happened, and what to do (§15.3)."""

from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from aos_sdk.cus_cost import format_cost
from aos_sdk.cus_wire import CusReasonCode as Code
from integrations.cus_lifecycle.limits import Limit, Unit, Window
from integrations.cus_lifecycle.scope_words import named_text


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One reason of a decision. Values are cents, tokens or calls, by `limit_type`."""

    code: Code
    message: str
    action: str
    limit_type: str | None = None
    limit_value: int | None = None
    current_value: int | None = None
    held_value: int | None = None
    threshold_percent: int | None = None
    retry_after_seconds: int | None = None
    # Of a limit at a scope: which one, whose calls it counts, and over which time.
    limit_id: str | None = None
    scope: str | None = None
    scope_value: str | None = None
    window: str | None = None


class Stopped(msgspec.Struct, frozen=True):
    """What a person has stopped: what calls name, by whom, and why."""

    scope: str
    value: str
    reason: str
    by: str


class Taken(NamedTuple):
    """A limit and the amounts taken of it, in cents, tokens or calls. `held`: None if unknown."""

    limit: int
    used: int
    held: int | None
    estimate: int


# --- Checks 1 to 3 ------------------------------------------------------------------------------


def state_unknown() -> Reason:
    """This process knows no state of the integration (ruling F6)."""
    return Reason(
        code=Code.STATE_UNKNOWN,
        message="The integration's state is not known: the database can't be reached, and this "
        "server has not seen the integration before.",
        action="Try again when the service has recovered",
    )


def integration_not_found() -> Reason:
    """The integration was deleted."""
    return Reason(
        code=Code.INTEGRATION_NOT_FOUND,
        message="The integration was deleted.",
        action="Use a key of another integration",
    )


def integration_not_enabled() -> Reason:
    """The integration was never enabled (ruling F1)."""
    return Reason(
        code=Code.INTEGRATION_NOT_ENABLED,
        message="The integration has not been enabled yet.",
        action="Enable integration",
    )


def integration_disabled() -> Reason:
    """The integration is disabled."""
    return Reason(
        code=Code.INTEGRATION_DISABLED,
        message="The integration is disabled.",
        action="Enable integration",
    )


NOT_SERVING: Final = {"created": integration_not_enabled, "disabled": integration_disabled}


def integration_error() -> Reason:
    """The integration's status is `error`."""
    return Reason(
        code=Code.INTEGRATION_ERROR,
        message="The integration is in error; its health message says why.",
        action="Fix health issue",
    )


def credentials_invalid() -> Reason:
    """The provider refused the credential, or the credential can't be read (ruling F2)."""
    return Reason(
        code=Code.CREDENTIALS_INVALID,
        message="The provider does not accept the integration's credential.",
        action="Rotate credentials",
    )


# --- Before check 4 -----------------------------------------------------------------------------


def stopped(stop: Stopped) -> Reason:
    """A person has stopped the agent, session, end user or model of the call."""
    named = named_text(stop.scope, stop.value)
    return Reason(
        code=Code.STOPPED,
        message=f"The {named} was stopped by {stop.by}: {stop.reason}",
        action="Have the stop lifted",
        limit_type=stop.scope,
    )


def call_recorded(call_id: str) -> Reason:
    """A call with this id is stored already (ruling F5)."""
    return Reason(
        code=Code.CALL_RECORDED,
        message=f"A call with the id {call_id} is known already, so this one would not be counted.",
        action="Use a new call_id for each call",
    )


def contention(seconds: int) -> Reason:
    """The integration's lock was not available in time (ruling F6)."""
    return Reason(
        code=Code.CONTENTION,
        message="Too many checks of this integration at once.",
        action=f"Wait {seconds} s and try again",
        retry_after_seconds=seconds,
    )


def holds_exceeded(bound: int, running: int, seconds: int) -> Reason:
    """The number of holds has reached its bound (ruling F5b): load, as contention is."""
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


def runs_exceeded(bound: int, seconds: int) -> Reason:
    """The number of budgets in code has reached its bound: load, as contention is."""
    return Reason(
        code=Code.CONTENTION,
        message=f"This integration has {bound:,} budgets in code, which is as many as it may have, "
        "and calls run for each of them, or a person has raised it. A budget that is not in use makes "
        "room for another.",
        action=f"Wait {seconds} s and try again, name fewer sessions, or have an operator raise the "
        "bound",
        limit_type="runs",
        limit_value=bound,
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


# What a model lacks if its calls can't be estimated, by the unit of the limit.
_LACKING: Final = {Unit.CENTS: "price", Unit.TOKENS: "known context window"}


def model_unpriced(model: str | None, limit: Limit, value: int) -> Reason:
    """The model has no price or no context window, so the call has no estimate (ruling F3)."""
    name = f"The model {model}" if model else "A call that names no model"
    return Reason(
        code=Code.MODEL_UNPRICED,
        message=f"{name} has no {_LACKING[limit.unit]}, so its calls can't be held against the "
        "limit.",
        action="Add a price for the model, set default_model (for calls without a model, and for names "
        "of your own such as deployments), or allow unpriced models",
        limit_type=limit.kind,
        limit_value=value,
    )


def limit_reached(
    limit: Limit, taken: Taken, window: Window, now: datetime, *, room: str = "room"
) -> Reason:
    """The limit has no room for any call. `window`: the time over which the limit counts."""
    end = window.end(now)
    wait = window.wait_seconds(now, end)
    action = f"Increase limit or wait until {end.day} {end:%B}" if end else f"Wait {wait} s"
    return Reason(
        code=limit.reached.code,
        message=limit.reached.message.format(**_texts(limit, taken), room=room),
        action=action,
        limit_type=limit.kind,
        limit_value=taken.limit,
        current_value=taken.used,
        held_value=taken.held,
        retry_after_seconds=wait,
    )


def estimate_exceeds_room(limit: Limit, taken: Taken, window: Window, now: datetime) -> Reason:
    """The limit has room, but not for what this call may use (ruling F3b)."""
    reached = limit_reached(limit, taken, window, now, room="room for this call")
    asks = "Set max_tokens, or ask for less"
    return msgspec.structs.replace(
        reached,
        code=Code.ESTIMATE_EXCEEDS_ROOM,
        action=f"{asks}; else {reached.action[0].lower()}{reached.action[1:]}",
    )


def limit_near(limit: Limit, taken: Taken, percent: int) -> Reason:
    """At least `percent` of the limit are taken."""
    if limit.near is None:
        msg = f"the limit {limit.kind} has no step at which it is near"
        raise ValueError(msg)
    return Reason(
        code=limit.near.code,
        message=limit.near.message.format(**_texts(limit, taken), percent=percent),
        action="Increase limit, or expect calls to be blocked",
        limit_type=limit.kind,
        limit_value=taken.limit,
        current_value=taken.used,
        held_value=taken.held,
        threshold_percent=percent,
    )


def all_checks_passed() -> Reason:
    """All checks passed."""
    return _PASSED


_PASSED: Final = Reason(
    code=Code.ALL_CHECKS_PASSED, message="All checks passed.", action="None needed"
)


def _texts(limit: Limit, taken: Taken) -> dict[str, str]:
    """The amounts as texts for people."""
    return {
        name: format_cost(amount) if limit.unit is Unit.CENTS else f"{amount:,}"
        for name, amount in taken._asdict().items()
        if amount is not None
    }
