"""The health of an integration over HTTP: the last result, and one live check."""

import uuid

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_accounts.api import PersonView
from integrations.cus_health.service import CusHealthService
from integrations.cus_lifecycle.api import found_integration
from integrations.cus_lifecycle.models import HEALTH_COLUMNS, CusIntegration


class HealthOutput(serializers.ModelSerializer[CusIntegration]):
    """The last check's result; `latency_ms` is null if the provider did not answer."""

    latency_ms = serializers.IntegerField(source="health_latency_ms", allow_null=True)

    class Meta:
        model = CusIntegration
        fields = (
            *HEALTH_COLUMNS,
            "latency_ms",
            "consecutive_failures",
        )


class TestOutput(serializers.Serializer[object]):
    """The result of one live check."""

    ok = serializers.BooleanField()
    credential_state = serializers.ChoiceField(CusIntegration.CredentialState.choices)
    latency_ms = serializers.IntegerField(allow_null=True)
    message = serializers.CharField()


class HealthView(PersonView):
    """The result of the last check. Never asks the provider (CUS-004)."""

    @extend_schema(operation_id="integrations_health", responses=HealthOutput)
    def get(self, request: Request, integration_id: uuid.UUID) -> Response:
        """The last result."""
        return Response(HealthOutput(found_integration(request, integration_id)).data)


class TestView(PersonView):
    """One live check, for people who may change the integration."""

    # Otherwise pytest would collect this class as a test.
    __test__ = False

    @extend_schema(
        operation_id="integrations_test", request=None, responses={200: TestOutput, 429: None}
    )
    def post(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Ask the provider now, within 10 seconds; at most 6 times a minute."""
        found = found_integration(request, integration_id)
        service = CusHealthService(found.tenant, actor=self.person(request))
        return Response(TestOutput(service.test(found, now=timezone.now())).data)
