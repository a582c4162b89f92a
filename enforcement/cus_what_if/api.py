"""What-if over HTTP: proposed limits against the evidence of past days."""

import uuid
from typing import TYPE_CHECKING

from django.urls import reverse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from enforcement.cus_what_if import start
from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.serializers import SimulateInput, SimulationOutput
from enforcement.cus_what_if.service import CusWhatIfService, find_simulation
from integrations.cus_accounts.api import PersonView
from integrations.cus_accounts.permissions import IsTenantPerson, role_of, visible_to
from integrations.cus_lifecycle.api import found_integration

if TYPE_CHECKING:
    from rest_framework.views import APIView


class MayRead(IsTenantPerson):
    """All people with a role: a simulation changes nothing of what it reads (ruling C9)."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return role_of(request.user) is not None


class SimulateView(PersonView):
    """Asking what proposed limits would have done."""

    permission_classes = [MayRead]

    @extend_schema(
        operation_id="enforcement_simulate",
        request=SimulateInput,
        responses={
            200: SimulationOutput,
            202: OpenApiResponse(
                SimulationOutput,
                description="More than a million rows, or fewer with three or more limits at scopes, "
                "or another simulation of the tenant is running: a job replays them. `Location` is "
                "where its progress and its report are read.",
            ),
            404: OpenApiResponse(description="There is no such integration."),
            409: OpenApiResponse(
                description="One of this integration is running, or the quota is used up."
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Replay the evidence of past days through proposed limits. Nothing is changed.

        `scoped_limits` is the whole list of limits at scopes to try. Without it the permanent ones
        of the integration and its tenant are replayed, as they are now, over all days.
        """
        fields = self.fields(request, SimulateInput)
        integration = found_integration(request, fields.pop("integration_id"))
        service = CusWhatIfService(integration.tenant, actor=self.person(request))
        asked = service.ask(
            integration,
            days=fields.pop("days"),
            scoped_limits=fields.pop("scoped_limits", None),
            proposed=fields,
        )
        simulation = start.start_simulation(asked, at_once=start.ROWS_AT_ONCE)
        headers = {"Location": reverse("cus-enforcement-simulation", args=[simulation.id])}
        status = 200 if simulation.is_over else 202
        return Response(SimulationOutput(simulation).data, status=status, headers=headers)


class SimulationView(PersonView):
    """A simulation that was asked for."""

    @extend_schema(operation_id="enforcement_simulation", responses=SimulationOutput)
    def get(self, request: Request, simulation_id: uuid.UUID) -> Response:
        """Its progress, and its report when it is done. Kept for 30 days."""
        seen = visible_to(CusSimulation.objects.all(), self.person(request))
        return Response(SimulationOutput(find_simulation(seen, simulation_id)).data)
