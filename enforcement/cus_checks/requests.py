"""Decode checks strictly; a refusal names the field."""

import re
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from aos_sdk import cus_wire as wire
from telemetry.cus_evidence.usage_record import BigCount, CallId, ModelName

_T = TypeVar("_T")
Tag = Annotated[str, Meta(max_length=wire.MAX_TAG_LENGTH)]


# A budget of nothing would end a session for all programs that name it.
Budget = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class RunBudget(msgspec.Struct, frozen=True):
    """What the session of a call may use in all, as its program says in code; None: no such budget."""

    cents: Budget | None = None
    microcents: Budget | None = None
    tokens: Budget | None = None
    calls: Budget | None = None


class CheckRequest(msgspec.Struct, frozen=True):
    """A call that wants to run. The server fills a missing estimate with the maximum (F3)."""

    call_id: CallId
    model: ModelName | None = None
    estimated_tokens: BigCount | None = None
    estimated_cost_cents: BigCount | None = None
    estimated_cost_microcents: BigCount | None = None
    reserve: bool = True
    # Whose call it is, as its record will say.
    agent_id: Annotated[str, Meta(max_length=wire.MAX_AGENT_ID_LENGTH)] | None = None
    session_id: Annotated[str, Meta(max_length=wire.MAX_SESSION_ID_LENGTH)] | None = None
    end_user: Annotated[str, Meta(max_length=wire.MAX_END_USER_LENGTH)] | None = None
    tags: Annotated[list[Tag], Meta(max_length=wire.MAX_TAGS)] | None = None
    # The budget in code of the session that the call names; without a session it says nothing.
    run: RunBudget | None = None


class _Batch(msgspec.Struct):
    requests: Annotated[list[CheckRequest], Meta(min_length=1, max_length=wire.MAX_BATCH_CHECKS)]


class RequestRefused(Exception):
    """The body is not what was expected: the field at fault, and the reason."""

    def __init__(self, attr: str | None, detail: str) -> None:
        super().__init__(detail)
        self.attr, self.detail = attr, detail


_one = msgspec.json.Decoder(CheckRequest)
_many = msgspec.json.Decoder(_Batch)
_PLACE = re.compile(r" - at `\$\.?([^`]*)`\Z")
_MISSING = re.compile(r"missing required field `(\w+)`")


def decode_check(body: bytes) -> CheckRequest:
    """The check in a body. Raises RequestRefused."""
    found: CheckRequest = decoded(_one, body)
    return found


def decode_checks(body: bytes) -> list[CheckRequest]:
    """The checks of a batch body. Raises RequestRefused."""
    found: _Batch = decoded(_many, body)
    return found.requests


def decoded(decoder: "msgspec.json.Decoder[_T]", body: bytes) -> _T:
    """What a decoder finds in a body. Raises RequestRefused."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _refused(str(error)) from None
    except (ValueError, RecursionError):
        raise RequestRefused(None, "The body is not valid JSON.") from None


def _refused(message: str) -> RequestRefused:
    place, missing = _PLACE.search(message), _MISSING.search(message)
    path = place[1] if place else ""
    if missing:
        path = f"{path}.{missing[1]}".lstrip(".")
    return RequestRefused(path or None, f"{_PLACE.sub('', message)}.")
