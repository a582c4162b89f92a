"""The health of an integration over HTTP: the last result, and one live check."""

import uuid

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations.cus_health_service import CusHealthService, TestedTooOften
from integrations.cus_health_turns import CheckUnderWay
from integrations.cus_models import CusIntegration
from integrations.cus_permissions import IsTenantPerson, visible_to


class HealthOutput(serializers.ModelSerializer[CusIntegration]):
    """The last check's result; `latency_ms` is null when there was no answer to time."""

    latency_ms = serializers.IntegerField(source="health_latency_ms", allow_null=True)

    class Meta:
        model = CusIntegration
        fields = (
            "health_state",
            "health_checked_at",
            "health_message",
            "credential_state",
            "latency_ms",
            "consecutive_failures",
        )


class TestOutput(serializers.Serializer[object]):
    """What one live check found."""

    ok = serializers.BooleanField()
    credential_state = serializers.ChoiceField(CusIntegration.CredentialState.choices)
    latency_ms = serializers.IntegerField(allow_null=True)
    message = serializers.CharField()


class HealthView(APIView):
    """What the last check found. Never asks the provider (CUS-004)."""

    permission_classes = [IsTenantPerson]

    @extend_schema(operation_id="integrations_health", responses=HealthOutput)
    def get(self, request: Request, integration_id: uuid.UUID) -> Response:
        """The last result."""
        return Response(HealthOutput(_integration(request, integration_id)).data)


class TestView(APIView):
    """One live check, for those who may change the integration."""

    permission_classes = [IsTenantPerson]

    @extend_schema(operation_id="integrations_test", request=None, responses=TestOutput)
    def post(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Ask the provider now, within 10 seconds; at most 6 times a minute."""
        integration = _integration(request, integration_id)
        service = CusHealthService(integration.tenant, actor=request.user)  # type: ignore[arg-type]  # as IsTenantPerson made sure
        try:
            result = service.test(integration, now=timezone.now())
        except (TestedTooOften, CheckUnderWay) as error:
            raise Throttled(error.retry_after_seconds, error.detail) from None
        return Response(TestOutput(result).data)


def _integration(request: Request, integration_id: uuid.UUID) -> CusIntegration:
    living = CusIntegration.objects.filter(deleted_at__isnull=True).select_related("tenant")
    found = visible_to(living, request.user).filter(id=integration_id).first()  # type: ignore[arg-type]  # as IsTenantPerson made sure
    if found is None:
        raise NotFound("There is no such integration.")
    return found
