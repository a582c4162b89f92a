"""The usual first implementation: DRF serializers and `bulk_create`.

The same key, the same usage table with the same indexes, durable as well. No ledger, so a
replay counts twice; no totals; the sender's cost is taken as it comes, and one bad record
refuses its whole batch.
"""

from collections.abc import Sequence
from typing import Any, cast

from django.db import transaction
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations.cus_keys.authentication import CusSdkKeyAuthentication, IsSdkKey
from integrations.cus_keys.verifier import SdkPrincipal
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_ids import uuid7

_MICROCENTS_PER_CENT = 1_000_000


class PlainUsageSerializer(serializers.ModelSerializer[CusLLMUsage]):
    """One record, by the rules of the model."""

    timestamp = serializers.DateTimeField(source="occurred_at")
    pricing_version = serializers.CharField(
        source="reported_pricing_version", max_length=100, required=False, allow_null=True
    )

    class Meta:
        model = CusLLMUsage
        fields = (
            *("call_id", "model", "provider", "operation", "stream", "session_id", "agent_id"),
            *("tokens_in", "tokens_out", "tokens_cached", "tokens_cache_write"),
            *("tokens_cache_write_1h", "tokens_reasoning", "tokens_audio_in", "tokens_audio_out"),
            *("tokens_image_in", "tokens_total", "service_tier", "billed_units", "cost_cents"),
            *("pricing_version", "latency_ms", "policy_result", "error_code", "error_message"),
            *("metadata", "process_id", "sequence", "lease_id", "degraded", "timestamp"),
        )


class PlainView(APIView):
    """The base of both views."""

    authentication_classes = [CusSdkKeyAuthentication]
    permission_classes = [IsSdkKey]

    def store(self, request: Request, records: Any) -> int:
        serializer = PlainUsageSerializer(data=records, many=True)
        serializer.is_valid(raise_exception=True)
        principal = cast("SdkPrincipal", request.user)  # as IsSdkKey made sure
        rows = _rows(principal, serializer.validated_data)
        with transaction.atomic():
            return len(CusLLMUsage.objects.bulk_create(rows))


class PlainUsageView(PlainView):
    """One record."""

    def post(self, request: Request) -> Response:
        return Response({"accepted": self.store(request, [request.data])}, status=201)


class PlainUsageBatchView(PlainView):
    """A batch of records."""

    def post(self, request: Request) -> Response:
        body: Any = request.data
        return Response({"accepted": self.store(request, body["records"])})


def _rows(principal: SdkPrincipal, validated: Sequence[dict[str, Any]]) -> list[CusLLMUsage]:
    now = timezone.now()
    return [
        CusLLMUsage(
            id=uuid7(),
            tenant_id=principal.tenant_id,
            integration_id=principal.integration_id,
            created_at=now,
            cost_microcents=fields["cost_cents"] * _MICROCENTS_PER_CENT,
            pricing=CusLLMUsage.Pricing.UNKNOWN,
            **fields,
        )
        for fields in validated
    ]
