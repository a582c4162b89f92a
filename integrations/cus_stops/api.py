"""The kill switch over HTTP."""

import uuid

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_accounts.api import PersonView
from integrations.cus_lifecycle.api import found_integration
from integrations.cus_stops.models import CusStop
from integrations.cus_stops.service import CusStopService
from integrations.cus_web.pages import NewestFirst
from integrations.cus_web.strict_fields import StrictChoice, StrictInput, StrictText


class StopInput(StrictInput):
    """Whose calls to refuse, and why."""

    scope = StrictChoice(CusStop.Scope.choices)
    value = StrictText(max_length=100, help_text="The name, exactly as calls have it.")
    reason = StrictText(max_length=500, help_text="Refused calls are told this.")


class StopOutput(serializers.ModelSerializer[CusStop]):
    """A stop that is in force, by whom and why."""

    class Meta:
        model = CusStop
        fields = ("id", "scope", "value", "reason", "stopped_by", "created_at")


class StopsView(PersonView):
    """Calls of an agent, a session, an end user or a model that are refused."""

    pagination_class = NewestFirst

    @extend_schema(operation_id="stops_list", responses=StopOutput(many=True))
    def get(self, request: Request, integration_id: uuid.UUID) -> Response:
        """The integration's stops that are in force, newest first."""
        service = CusStopService(found_integration(request, integration_id))
        return self.page(request, service.in_force(), StopOutput)

    @extend_schema(
        operation_id="stops_make", request=StopInput, responses={201: StopOutput, 409: None}
    )
    def post(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Stop at once. What is stopped already is answered as it is."""
        integration = found_integration(request, integration_id)
        fields = self.fields(request, StopInput)
        stop = CusStopService(integration, actor=self.person(request)).stop(**fields)
        return Response(StopOutput(stop).data, status=201)


class StopView(PersonView):
    """One stop of an integration."""

    @extend_schema(
        operation_id="stops_lift",
        responses={204: OpenApiResponse(description="Calls run again.")},
    )
    def delete(self, request: Request, integration_id: uuid.UUID, stop_id: uuid.UUID) -> Response:
        """Lift a stop. Lifting a lifted stop changes nothing."""
        integration = found_integration(request, integration_id)
        CusStopService(integration, actor=self.person(request)).lift(stop_id)
        return Response(status=204)
