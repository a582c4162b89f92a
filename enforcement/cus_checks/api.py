"""The HTTP API of enforcement: checks for programs, the decision log for people."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

import msgspec
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, ValidationError
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from aos_sdk.cus_wire import INTEGRATION_KEY_HEADER, MAX_BATCH_BYTES
from enforcement.cus_checks.answers import answer_of
from enforcement.cus_checks.keys import Caller, caller_of
from enforcement.cus_checks.overview import config_of, status_of
from enforcement.cus_checks.requests import (
    CheckRequest,
    RequestRefused,
    decode_check,
    decode_checks,
)
from enforcement.cus_checks.serializers import (
    CheckBatchResult,
    CheckBatchSchema,
    CheckResult,
    CheckSchema,
    ConfigResult,
    DecisionFilters,
    DecisionOutput,
    StatusResult,
    lookups_of,
)
from enforcement.cus_checks.service import CusEnforcementService
from enforcement.cus_decisions.models import CusEnforcementDecision
from enforcement.cus_reading.absence import DatabaseTrouble
from integrations.cus_accounts.api import PersonView
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_keys.authentication import key_text
from integrations.cus_keys.throttle import SdkKeyThrottle
from integrations.cus_web.log_context import note_whose
from integrations.cus_web.pages import NewestFirst, filters_of
from integrations.cus_web.sdk_routes import ARRIVED
from integrations.cus_web.verdicts import Secret, note_verdict
from telemetry.cus_evidence.api import SdkView

_MAX_LENGTH_DIGITS = len(str(MAX_BATCH_BYTES))
_KEY_HEADER = f"HTTP_{INTEGRATION_KEY_HEADER.upper().replace('-', '_')}"


class CusCheckAuthentication(BaseAuthentication):
    """Accepts an SDK key; while the database is away, its last answer is valid (ruling F6)."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        text = key_text(request)
        if not text:
            return None
        caller = _caller_with(text, request)
        if caller is None:
            raise AuthenticationFailed(
                "This SDK key is not valid here: it is unknown, revoked or expired. "
                "Issue a new one for the integration."
            )
        note_whose(caller.tenant_id, caller.integration_id)
        return caller, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def _caller_with(text: str, request: HttpRequest | Request) -> Caller | None:
    """The caller of a key's text. The web server learns whether the key is valid."""
    # Stays if the next line raises, and if the database does not verify the key.
    note_verdict(request, Secret.KEY, accepted=None)
    caller = caller_of(text, now=timezone.now(), arrived=request.META.get(ARRIVED))
    if caller is None or caller.verified:
        note_verdict(request, Secret.KEY, accepted=caller is not None)
    return caller


class CusCheckScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document describes the authentication of checks."""

    target_class = CusCheckAuthentication
    name = "sdkKeyOfChecks"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": INTEGRATION_KEY_HEADER}


class IsCaller(BasePermission):
    """Only a program with an SDK key may call the view."""

    message = "Only an SDK key may do this. Send it in the header X-CUS-Integration-Key."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.user, Caller)


class ReadsThrottle(SdkKeyThrottle):
    """Limits an SDK's reads of its integration, so that reads can't occupy the checks' threads."""

    def whom(self, request: Request) -> str | None:
        """The integration. An unverified key has a budget of its own and uses no other's."""
        caller: object = request.user
        if not isinstance(caller, Caller):
            return None
        return f"{'reads' if caller.verified else 'unverified'} {caller.integration_id}"


class CheckerView(SdkView):
    """A view for programs that present an SDK key."""

    authentication_classes = [CusCheckAuthentication]
    permission_classes = [IsCaller]
    # No throttle: the answer to a well-formed check is always a verdict.
    throttle_classes = []

    def caller(self, request: Request) -> Caller:
        """The caller whose key the request came with."""
        return cast("Caller", request.user)  # IsCaller has checked the type.


_Asked = TypeVar("_Asked")


class AskingView(CheckerView, Generic[_Asked]):
    """A view of checks: decode, decide, answer.

    A well-formed check bypasses DRF, whose machinery costs more than a decision. All other
    requests go through DRF, so their errors look as everywhere else.
    """

    decode: Callable[[bytes], _Asked]

    def answer(self, caller: Caller, asked: _Asked) -> HttpResponse:
        """The verdict on the call, or the verdicts on the calls."""
        raise NotImplementedError

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer a well-formed request directly, and any other request through DRF."""
        text = request.META.get(_KEY_HEADER, "").strip()
        if text and _is_plain_json(request):
            with suppress(RequestRefused, OperationalError, InterfaceError):
                asked = type(self).decode(request.body)
                caller = _caller_with(text, request)
                if caller:
                    return self.answer(caller, asked)
        return super().dispatch(request, *args, **kwargs)

    def decoded(self, request: Request) -> _Asked:
        """The decoded body of a request. Raises ValidationError."""
        try:
            return type(self).decode(self.body(request))
        except RequestRefused as refused:
            raise ValidationError({refused.attr or "body": [refused.detail]}) from None


class CheckView(AskingView[CheckRequest]):
    """One call."""

    decode = staticmethod(decode_check)

    def answer(self, caller: Caller, asked: CheckRequest) -> HttpResponse:
        """The verdict on one call."""
        verdict = CusEnforcementService(caller).check(asked)
        response = json_response(answer_of(caller, verdict))
        if verdict.decision.result == "throttled":
            response["Retry-After"] = str(verdict.decision.retry_after_seconds)
        return response

    @extend_schema(
        operation_id="enforcement_check", request=CheckSchema, responses={200: CheckResult}
    )
    def post(self, request: Request) -> HttpResponse:
        """Ask whether a call may run; if so, what it may cost is held until it is reported."""
        return self.answer(self.caller(request), self.decoded(request))


class CheckBatchView(AskingView[list[CheckRequest]]):
    """Up to 100 calls."""

    decode = staticmethod(decode_checks)

    def answer(self, caller: Caller, asked: list[CheckRequest]) -> HttpResponse:
        """The verdicts on calls."""
        verdicts = CusEnforcementService(caller).check_batch(asked)
        return json_response({"decisions": [answer_of(caller, verdict) for verdict in verdicts]})

    @extend_schema(
        operation_id="enforcement_batch",
        request=CheckBatchSchema,
        responses={200: CheckBatchResult},
    )
    def post(self, request: Request) -> HttpResponse:
        """Ask whether calls may run, in the order given: each sees those before it."""
        return self.answer(self.caller(request), self.decoded(request))


class StatusView(CheckerView):
    """Where the integration stands."""

    throttle_classes = [ReadsThrottle]

    @extend_schema(operation_id="enforcement_status", responses=StatusResult)
    def get(self, request: Request) -> HttpResponse:
        """Limits, usage, what is held, and the verdict that a call of zero cost would get now."""
        return json_response(available(status_of, self.caller(request)))


class ConfigView(CheckerView):
    """What an SDK needs to know of its integration."""

    throttle_classes = [ReadsThrottle]

    @extend_schema(
        operation_id="enforcement_config",
        responses={
            200: ConfigResult,
            304: OpenApiResponse(description="As the ETag in If-None-Match says."),
        },
    )
    def get(self, request: Request) -> HttpResponse:
        """Status, level, limits and own prices; 304 if nothing changed."""
        config = available(config_of, self.caller(request))
        etag = f'"{config["config_version"]}"'
        unchanged = etag in _tags(request.headers.get("If-None-Match", ""))
        response = HttpResponse(status=304) if unchanged else json_response(config)
        response["ETag"] = etag
        return response


class DecisionsView(PersonView):
    """The decision log of the caller's tenant; of all tenants for the staff."""

    pagination_class = NewestFirst

    @extend_schema(
        operation_id="enforcement_decisions",
        parameters=[DecisionFilters],
        responses=DecisionOutput(many=True),
    )
    def get(self, request: Request) -> Response:
        """Every decision but a plain `allowed`, newest first."""
        asked = filters_of(request, DecisionFilters)
        scope = visible_to(CusEnforcementDecision.objects.all(), self.person(request))
        return self.page(request, scope.filter(**lookups_of(asked)), DecisionOutput)


def json_response(content: Any) -> HttpResponse:
    """An answer as JSON."""
    return HttpResponse(msgspec.json.encode(content), content_type="application/json")


def _is_plain_json(request: HttpRequest) -> bool:
    """Whether the body is uncompressed JSON with a declared length, as programs send it."""
    headers, length = request.META, request.META.get("CONTENT_LENGTH") or ""
    return (
        request.method == "POST"
        and headers.get("CONTENT_TYPE") == "application/json"
        and "HTTP_CONTENT_ENCODING" not in headers
        and "HTTP_TRANSFER_ENCODING" not in headers
        and length.isdecimal()
        and len(length) <= _MAX_LENGTH_DIGITS  # `int` raises for thousands of digits
        and int(length) <= MAX_BATCH_BYTES
    )


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def available(read: Any, caller: Caller) -> Any:
    """The result of `read`. Raises OperationalError, so the answer is 503."""
    try:
        return read(caller)
    except DatabaseTrouble as error:
        raise OperationalError(type(error).__name__) from error
