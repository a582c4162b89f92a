"""Which limits may be made: rules beyond those of the columns, with what to do instead."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import ValidationError

from aos_sdk.cus_limit_scopes import OF_ALL_CALLS
from aos_sdk.cus_wire import MAX_TAG_LENGTH
from integrations.cus_lifecycle.end_users import PREFIX, CusEndUsers
from integrations.cus_limits.models import MOST, CusScopedLimit
from integrations.cus_limits.words import moment_text

_Scope, _Unit, _Window = CusScopedLimit.Scope, CusScopedLimit.Unit, CusScopedLimit.Window
_Result = CusScopedLimit.Result
# Cents are compared as microcents too, which must fit a BIGINT; so must the sums of both.
_MOST_OF: Final = {_Unit.CENTS: 2**31 - 1, _Unit.CALLS: 2**31 - 1, _Unit.TOKENS: MOST}


@dataclass(frozen=True)
class Whose:
    """The calls that a limit counts together, as its row names them."""

    scope: str
    tag: str
    value: str | None


def whose(scope: str, tag: str, value: str | None, *, tenant_id: UUID) -> Whose:
    """The calls of a scope. `value` is None for each value; a tag's may be a text `key=value`.

    Of an end user the pseudonym, where names must not be stored. Raises ValidationError, by field.
    """
    if scope == _Scope.TAG:
        return _of_tag(tag, value)
    if tag:
        raise ValidationError({"tag": "Only limits of the scope tag have the key of a tag."})
    if scope in OF_ALL_CALLS:
        if value:
            text = "A limit of this scope counts all calls: leave the name out, or choose a scope."
            raise ValidationError({"value": text})
        return Whose(scope, "", "")
    if value is not None:
        _check_name("value", value)
    if scope == _Scope.END_USER and value is not None and not value.startswith(PREFIX):
        value = CusEndUsers(tenant_id).stored(value)
    return Whose(scope, "", value)


def _of_tag(tag: str, value: str | None) -> Whose:
    if not tag and value and "=" in value:
        tag, _, value = value.partition("=")
    if not tag or "=" in tag:
        text = "Name the tag's key, such as team for calls with the tag team=search."
        raise ValidationError({"tag": text})
    _check_name("tag", tag)
    if value is not None:
        _check_name("value", value)
    if len(f"{tag}={value or ''}") > MAX_TAG_LENGTH:
        text = f"A tag has {MAX_TAG_LENGTH} characters at most, with its key: no call has this tag."
        raise ValidationError({"value": text})
    return Whose(_Scope.TAG, tag, value)


def _check_name(field: str, text: str) -> None:
    if not text:
        raise ValidationError({field: "Give a name, or leave it out for each of the kind."})
    if text != text.strip() or not text.isprintable():
        hint = "This text must not begin or end with a space, nor hold control characters."
        raise ValidationError({field: hint})


def usual_result(unit: str, window: str) -> str:
    """What a limit does unless its maker says otherwise: rates throttle, amounts block.

    What never gets room again blocks as well.
    """
    if window == _Window.LIFE or unit == _Unit.CENTS:
        return _Result.BLOCKED
    if unit == _Unit.TOKENS and window != _Window.MINUTE:
        return _Result.BLOCKED
    return _Result.THROTTLED


def check_kind(limit: CusScopedLimit) -> None:
    """Raise ValidationError, by field, unless a limit may count this over that window."""
    if limit.window == _Window.LIFE and limit.scope != _Scope.SESSION:
        text = "Only a session has a limit in all; choose a day, a week or a month for this scope."
        raise ValidationError({"window": text})


def check_values(limit: CusScopedLimit, *, now: datetime) -> None:
    """Raise ValidationError, by field, unless the limit may have these values from now on."""
    limit.clean_fields(exclude=["valid_from"])
    check_amount(limit.unit, limit.amount)
    if limit.window == _Window.LIFE and limit.result == _Result.THROTTLED:
        text = "A session's limit in all never gets room again, so it blocks."
        raise ValidationError({"result": text})
    check_times(limit.valid_from, limit.valid_until, now=now)


def check_amount(unit: str, amount: int) -> None:
    """Raise ValidationError unless a limit of the unit takes the amount."""
    most = _MOST_OF[_Unit(unit)]
    if amount > most:
        raise ValidationError({"amount": f"The most that a limit of {unit} takes is {most:,}."})


def check_times(valid_from: Any, valid_until: datetime | None, *, now: datetime) -> None:
    """Raise ValidationError unless a limit may hold from and until then.

    `valid_from` may stand for the database's present.
    """
    if valid_until is None:
        return
    begins = valid_from if isinstance(valid_from, datetime) else now
    if valid_until <= max(begins, now):
        text = f"The end must be later than the beginning and now ({moment_text(now)})."
        raise ValidationError({"valid_until": text})


def next_change(values: Mapping[str, Any], *, now: datetime) -> datetime | None:
    """When a limit with these times begins or ends next; None if neither is ahead."""
    moments = (values.get("valid_from"), values.get("valid_until"))
    ahead = [moment for moment in moments if isinstance(moment, datetime) and moment > now]
    return min(ahead, default=None)
