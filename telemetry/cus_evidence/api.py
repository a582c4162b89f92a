"""The two doors through which SDKs report (§4.2)."""

import zlib
from collections import Counter
from typing import IO, Any, cast

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from aos_sdk.cus_wire import MAX_BATCH_BYTES, CusIngestStatus
from integrations.cus_accounts.api import OFFERED
from integrations.cus_keys.authentication import CusSdkKeyAuthentication, IsSdkKey
from integrations.cus_keys.throttle import SdkKeyThrottle
from integrations.cus_keys.verifier import SdkPrincipal
from integrations.cus_web.json import BodyTooLarge, LengthRequired
from telemetry.cus_evidence.bodies import BodyUnreadable, read_batch
from telemetry.cus_evidence.serializers import (
    BatchResult,
    SingleResult,
    UsageBatch,
    UsageRecordSchema,
)
from telemetry.cus_evidence.service import CusTelemetryService, Outcome


class BatchTooLarge(BodyTooLarge):
    """413: the body is over the limit of what SDKs send."""

    default_detail = f"The body is over {MAX_BATCH_BYTES} bytes. Send fewer records a batch."


class EncodingUnsupported(APIException):
    """415: a body packed in a way that we don't unpack."""

    status_code = 415
    default_code = "unsupported_encoding"
    default_detail = "Send the body plain, or with Content-Encoding: gzip."


class RawJsonParser(BaseParser):
    """Hands the body on as it came: records are decoded one by one, by a compiled decoder."""

    media_type = "application/json"

    def parse(  # type: ignore[override]  # what a view gets as `data` is its own business
        self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None
    ) -> bytes:
        body: bytes = stream.read(MAX_BATCH_BYTES + 1)
        if len(body) > MAX_BATCH_BYTES:
            raise BatchTooLarge
        encoding = parser_context["request"].headers.get("Content-Encoding", "identity").lower()
        if encoding == "gzip":
            return _inflated(body)
        if encoding != "identity":
            raise EncodingUnsupported
        return body


def _inflated(body: bytes) -> bytes:
    """A gzip body unpacked, as far as a plain one may be large. Raises BatchTooLarge, ParseError."""
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = inflater.decompress(body, MAX_BATCH_BYTES + 1)
    except zlib.error:
        plain, inflater = b"", zlib.decompressobj()
    # Never unpacked further than the limit: a small body may hold gigabytes.
    if len(plain) > MAX_BATCH_BYTES:
        raise BatchTooLarge
    if not inflater.eof or inflater.unused_data:
        raise ParseError("The body is not one whole gzip stream.")
    return plain


class RecordError(APIException):
    """A single record that was not stored, with the field that is to blame."""

    def __init__(self, outcome: Outcome) -> None:
        self.status_code = _STATUS_OF_CODE.get(str(outcome.code), 400)
        # A conflict names every field in which the reports differ.
        fields = outcome.fields or ("record",)
        super().__init__({name: [outcome.detail] for name in fields}, outcome.code)


_STATUS_OF_CODE = {"call_id_conflict": 409, "integration_mismatch": 403}


_JSON = (JSONRenderer(), JSONRenderer.media_type)


class SdkView(APIView):
    """A view for programs that hold an SDK key."""

    authentication_classes = [CusSdkKeyAuthentication]
    permission_classes = [IsSdkKey]
    throttle_classes = [SdkKeyThrottle]
    parser_classes = [RawJsonParser]
    http_method_names = OFFERED

    def perform_content_negotiation(
        self,
        request: Request,
        force: bool = False,  # noqa: FBT001, FBT002  (DRF's own)
    ) -> tuple[BaseRenderer, str]:
        """JSON, whatever is asked for: programs get nothing else here."""
        return _JSON

    def telemetry(self, request: Request) -> CusTelemetryService:
        """The service for the key's integration."""
        principal = cast("SdkPrincipal", request.user)  # as IsSdkKey made sure
        return CusTelemetryService(principal, now=timezone.now())

    def body(self, request: Request) -> bytes:
        """The body as RawJsonParser handed it on; empty where there was none."""
        if "Transfer-Encoding" in request.headers and not request.META.get("CONTENT_LENGTH"):
            raise LengthRequired
        return bytes(cast("bytes", request.data))


class LlmUsageView(SdkView):
    """One record."""

    @extend_schema(
        operation_id="telemetry_llm_usage",
        request=UsageRecordSchema,
        responses={
            201: SingleResult,
            200: OpenApiResponse(SingleResult, description="Known already, stored once."),
            409: None,
        },
    )
    def post(self, request: Request) -> Response:
        """Report one LLM call."""
        (outcome,) = self.telemetry(request).record_batch([self.body(request)])
        if outcome.status in (CusIngestStatus.REJECTED, CusIngestStatus.CONFLICT):
            raise RecordError(outcome)
        status = 201 if outcome.status == CusIngestStatus.ACCEPTED else 200
        answer = {"status": outcome.status, "id": outcome.id, "call_id": outcome.call_id}
        return Response(answer, status=status)


class LlmUsageBatchView(SdkView):
    """Up to 1,000 records, each standing for itself."""

    @extend_schema(
        operation_id="telemetry_llm_usage_batch",
        request=UsageBatch,
        responses={200: BatchResult},
    )
    def post(self, request: Request) -> Response:
        """Report up to 1,000 LLM calls; bad ones are named, good ones are stored."""
        try:
            records, announcement = read_batch(self.body(request))
        except BodyUnreadable as error:
            raise ParseError(str(error)) from None
        return Response(_summary(self.telemetry(request).record_batch(records, announcement)))


_REPORTED = ("index", "call_id", "status", "code", "detail", "attr")


def _summary(outcomes: list[Outcome]) -> dict[str, Any]:
    counts = Counter(outcome.status for outcome in outcomes)
    return {
        "total": len(outcomes),
        "accepted": counts[CusIngestStatus.ACCEPTED],
        "duplicates": counts[CusIngestStatus.DUPLICATE],
        "conflicts": counts[CusIngestStatus.CONFLICT],
        "rejected": counts[CusIngestStatus.REJECTED],
        "results": [
            {name: getattr(outcome, name) for name in _REPORTED}
            for outcome in outcomes
            if outcome.status != CusIngestStatus.ACCEPTED
        ],
    }
