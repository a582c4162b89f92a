"""`GET /telemetry/gaps`: records that were reported and have not arrived."""

import base64
import binascii
import json
import uuid
from datetime import datetime

from django.utils.dateparse import parse_datetime
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from integrations.cus_accounts.api import PersonView
from integrations.cus_accounts.permissions import tenant_of
from telemetry.cus_delivery.gaps_service import CusGapsService, GapsFilter, Place


class GapsQuery(serializers.Serializer[object]):
    """The filter of the listed processes."""

    tenant_id = serializers.UUIDField(
        required=False, help_text="For the staff (operators, support, finance), who must name one."
    )
    integration_id = serializers.UUIDField(required=False)
    process_id = serializers.CharField(required=False, max_length=100)
    seen_from = serializers.DateTimeField(required=False, help_text="Last reported at or after.")
    seen_to = serializers.DateTimeField(required=False, help_text="Last reported before.")
    cursor = serializers.CharField(required=False, help_text="From `next` of the page before.")
    limit = serializers.IntegerField(required=False, default=100, min_value=1, max_value=100)


class ProcessGapsOutput(serializers.Serializer[object]):
    """A process with missing sequences."""

    integration_id = serializers.UUIDField()
    process_id = serializers.CharField()
    first_seen_at = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField()
    last_sequence = serializers.IntegerField(
        help_text="The highest sequence that the process is known to have used."
    )
    missing = serializers.ListField(
        child=serializers.ListField(child=serializers.IntegerField(), min_length=2, max_length=2),
        help_text="The first 100 ranges, [first, last], both included.",
    )
    missing_is_cut = serializers.BooleanField(help_text="There are more ranges than are listed.")
    missing_count = serializers.IntegerField(help_text="Of all ranges.")
    dropped = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Records that the process declared as dropped, by reason.",
    )
    undeclared_count = serializers.IntegerField(help_text="Missing, and not declared as dropped.")


class GapsPage(serializers.Serializer[object]):
    """A page of the list, with a link to the next page alone."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = ProcessGapsOutput(many=True)


class GapsView(PersonView):
    """Sequences of the tenant's programs that never came, by process and integration."""

    @extend_schema(operation_id="telemetry_gaps", parameters=[GapsQuery], responses=GapsPage)
    def get(self, request: Request) -> Response:
        """List processes with missing records, the process that reported last first."""
        service = CusGapsService(tenant_of(request))
        query = GapsQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        names = ("integration_id", "process_id", "seen_from", "seen_to")
        processes = GapsFilter(**{name: asked.get(name) for name in names})
        after = _place(asked["cursor"]) if "cursor" in asked else None
        found = service.gaps(processes, after=after, limit=asked["limit"] + 1)
        page = found[: asked["limit"]]
        following = page[-1].place if len(found) > len(page) else None
        body = {
            "next": _link(request, following) if following else None,
            "previous": None,
            "results": page,
        }
        return Response(GapsPage(body).data)


def _link(request: Request, place: Place) -> str:
    last_seen_at, integration_id, process_id = place
    words = [last_seen_at.isoformat(), str(integration_id), process_id]
    cursor = base64.urlsafe_b64encode(json.dumps(words).encode()).decode()
    return str(replace_query_param(request.build_absolute_uri(), "cursor", cursor))


def _place(cursor: str) -> Place:
    try:
        seen, integration_id, process_id = json.loads(base64.urlsafe_b64decode(cursor))
        moment: datetime | None = parse_datetime(seen)
        place = (uuid.UUID(integration_id), str(process_id))
    except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error):
        moment, place = None, (uuid.UUID(int=0), "")
    if moment is None or moment.tzinfo is None or not place[1].isprintable():
        raise NotFound("This cursor names no page. Start without a cursor, and follow `next`.")
    return (moment, *place)
