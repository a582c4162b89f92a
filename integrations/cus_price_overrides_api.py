"""A tenant's own prices, over HTTP."""

from django.core.exceptions import ValidationError as ModelValidationError
from drf_spectacular.utils import extend_schema
from rest_framework import pagination, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations.cus_permissions import IsTenantPerson, tenant_of
from integrations.cus_price_override_service import CusPriceOverrideService
from integrations.cus_serializers import PriceOverrideInput, PriceOverrideOutput


class NewestFirst(pagination.CursorPagination):
    """Pages that stay right while rows are added."""

    ordering = ("-created_at", "-id")
    page_size = 100


class PriceOverridesView(APIView):
    """The prices of the caller's tenant. Appended, never changed or removed."""

    permission_classes = [IsTenantPerson]

    @extend_schema(operation_id="price_overrides_list", responses=PriceOverrideOutput(many=True))
    def get(self, request: Request) -> Response:
        """The tenant's own prices, newest first."""
        pages = NewestFirst()
        page = pages.paginate_queryset(self._service(request).scope(), request, self)
        return pages.get_paginated_response(PriceOverrideOutput(page, many=True).data)

    @extend_schema(
        operation_id="price_overrides_append",
        request=PriceOverrideInput,
        responses={201: PriceOverrideOutput},
    )
    def post(self, request: Request) -> Response:
        """Append a price."""
        fields = PriceOverrideInput(data=request.data)
        fields.is_valid(raise_exception=True)
        try:
            override = self._service(request).append(**fields.validated_data)
        except ModelValidationError as error:
            raise serializers.ValidationError(serializers.as_serializer_error(error)) from None
        return Response(PriceOverrideOutput(override).data, status=201)

    def _service(self, request: Request) -> CusPriceOverrideService:
        return CusPriceOverrideService(tenant_of(request), actor=request.user)  # type: ignore[arg-type]  # as IsTenantPerson made sure
