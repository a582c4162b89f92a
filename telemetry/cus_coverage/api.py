"""The endpoint by which SDKs report calls that bypassed them (§13.1, ruling F8)."""

from typing import cast

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_keys.verifier import SdkPrincipal
from telemetry.cus_clock import database_now
from telemetry.cus_coverage.service import (
    CusBypassService,
    ReportRefused,
    WindowConflict,
    decode_report,
)
from telemetry.cus_evidence.api import SdkView
from telemetry.cus_evidence.serializers import BypassReportResult, BypassReportSchema


class ReportError(APIException):
    """A report that was not stored, with the fields at fault."""

    def __init__(self, error: ReportRefused | WindowConflict) -> None:
        self.status_code = error.status
        fields = error.fields if isinstance(error, WindowConflict) else [error.attr or "report"]
        super().__init__({name: [error.detail] for name in fields}, error.code)


class BypassView(SdkView):
    """The report of one process' window."""

    @extend_schema(
        operation_id="telemetry_bypass",
        request=BypassReportSchema,
        responses={
            201: BypassReportResult,
            200: OpenApiResponse(BypassReportResult, description="Known already, counted once."),
            409: None,
        },
    )
    def post(self, request: Request) -> Response:
        """Report how many provider calls were governed in a window, and how many were not."""
        service = CusBypassService(cast("SdkPrincipal", request.user), now=database_now())
        try:
            stored, is_new = service.record(decode_report(self.body(request)))
        except (ReportRefused, WindowConflict) as error:
            raise ReportError(error) from None
        return Response(BypassReportResult(stored).data, status=201 if is_new else 200)
