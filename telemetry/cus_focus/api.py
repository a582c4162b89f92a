"""`GET /telemetry/focus`: usage and cost as rows of FOCUS."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from integrations.cus_accounts.api import PersonView
from integrations.cus_accounts.permissions import tenant_of
from integrations.cus_web.pages import filters_of
from telemetry.cus_clock import database_now
from telemetry.cus_focus.charges import CusCharges
from telemetry.cus_focus.columns import FOCUS_VERSION
from telemetry.cus_focus.export import FocusFormat, focus_lines
from telemetry.cus_reads.periods import period_of
from telemetry.cus_reads.serializers import DayFilters
from telemetry.cus_reads.summaries import LONGEST, find_integration

_ONE_DAY = timedelta(days=1)
_FORMATS = [(one.value, one.value) for one in FocusFormat]


class FocusFilters(DayFilters):
    """Days in UTC, both included: this month by default."""

    format = serializers.ChoiceField(_FORMATS, required=False, default=FocusFormat.CSV.value)

    def get_fields(self) -> dict[str, Any]:
        """The filters of days, without those of pages."""
        fields = super().get_fields()
        return {name: fields[name] for name in fields if name not in ("cursor", "limit")}


class FocusView(PersonView):
    """A tenant's charges as a FOCUS file."""

    def perform_content_negotiation(
        self,
        request: Request,
        force: bool = False,  # noqa: FBT001, FBT002  (DRF's own)
    ) -> tuple[BaseRenderer, str]:
        """Errors are JSON, also for a client that accepts CSV alone."""
        return JSONRenderer(), JSONRenderer.media_type

    @extend_schema(
        operation_id="telemetry_focus",
        parameters=[FocusFilters],
        responses={
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/jsonl"): OpenApiTypes.STR,
            404: OpenApiResponse(description="No such integration or tenant."),
        },
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Usage and cost as rows of FOCUS 1.4. Computed from usage records: not an invoice."""
        asked = filters_of(request, FocusFilters)
        start = datetime.combine(asked["from"], time.min, UTC) if "from" in asked else None
        end = datetime.combine(asked["to"], time.min, UTC) + _ONE_DAY if "to" in asked else None
        period = period_of(start, end, now=database_now(), longest=LONGEST)
        tenant = tenant_of(request)
        find_integration(tenant, asked.get("integration_id"))
        written = FocusFormat(asked["format"])
        name = f"focus-{FOCUS_VERSION}-{period.start:%Y-%m-%d}.{written}"
        return StreamingHttpResponse(
            focus_lines(CusCharges(tenant, asked.get("integration_id")).of(period), written),
            content_type=written.media_type,
            headers={
                "Content-Disposition": f'attachment; filename="{name}"',
                "X-CUS-FOCUS-Version": FOCUS_VERSION,
            },
        )
