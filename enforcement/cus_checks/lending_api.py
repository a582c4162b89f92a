"""The HTTP API of leases."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from enforcement.cus_checks.answers import CheckAnswer, answer_of
from enforcement.cus_checks.api import (
    AskingView,
    CheckerView,
    ReadsThrottle,
    available,
    json_response,
)
from enforcement.cus_checks.keys import Caller
from enforcement.cus_checks.lending_requests import LeaseRequest, decode_end, decode_lease
from enforcement.cus_checks.lending_serializers import (
    LeaseEndResult,
    LeaseEndSchema,
    LeaseResult,
    LeaseSchema,
)
from enforcement.cus_checks.lending_service import CusLendingService, Lending
from enforcement.cus_checks.requests import RequestRefused
from telemetry.cus_holds.leases import LEASE_LIFE
from telemetry.cus_money.amounts import LeaseAmounts

_NOTHING = LeaseAmounts()


class LeaseAnswer(msgspec.Struct, kw_only=True):
    """What a holder gets: the four amounts and their slices, or no lease; and a verdict."""

    lease_id: uuid.UUID | None
    slices: Sequence[Mapping[str, Any]]
    cents: int
    microcents: int
    tokens: int
    calls: int
    valid_for_ms: int
    config_version: int | None
    returned: Sequence[uuid.UUID]
    by_session: bool
    decision: CheckAnswer


def lease_answer_of(caller: Caller, lending: Lending) -> LeaseAnswer:
    """The answer that carries a lease, or says why there is none."""
    lease, decision = lending.lease, answer_of(caller, lending.verdict)
    return LeaseAnswer(
        lease_id=lease.id if lease else None,
        slices=lease.slices if lease else (),
        **(lease.lent if lease else _NOTHING)._asdict(),
        valid_for_ms=int(LEASE_LIFE.total_seconds() * 1_000) if lease else 0,
        config_version=decision.config_version,
        returned=lending.returned,
        by_session=lending.by_session,
        decision=decision,
    )


class LeaseView(AskingView[LeaseRequest]):
    """A lease for a program that decides by itself."""

    decode = staticmethod(decode_lease)

    def answer(self, caller: Caller, asked: LeaseRequest) -> HttpResponse:
        """The lease, or none, and the verdict on a call of the estimate."""
        return json_response(lease_answer_of(caller, CusLendingService(caller).lease(asked)))

    @extend_schema(
        operation_id="enforcement_lease", request=LeaseSchema, responses={200: LeaseResult}
    )
    def post(self, request: Request) -> HttpResponse:
        """Ask for a part of each limit's room, within which the program admits calls by itself."""
        return self.answer(self.caller(request), self.decoded(request))


class LeaseEndView(CheckerView):
    """A lease that ends before its time."""

    throttle_classes = [ReadsThrottle]
    # The document has the body of a DELETE only where the view says that there is one.
    delete_has_body = True

    @extend_schema(
        operation_id="enforcement_lease_end",
        request=LeaseEndSchema,
        responses={200: LeaseEndResult},
    )
    def delete(self, request: Request, lease_id: uuid.UUID) -> HttpResponse:
        """Return what was not set aside of a lease; what was stays held until its calls landed."""
        try:
            set_aside = decode_end(self.body(request))
        except RequestRefused as refused:
            raise ValidationError({refused.attr or "body": [refused.detail]}) from None
        caller = self.caller(request)
        returned = available(lambda one: CusLendingService(one).end(lease_id, set_aside), caller)
        return json_response({"returned": returned})
