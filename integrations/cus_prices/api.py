"""A tenant's own prices, over HTTP."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_accounts.api import TENANT, PersonView
from integrations.cus_accounts.permissions import tenant_of
from integrations.cus_prices.serializers import PriceOverrideInput, PriceOverrideOutput
from integrations.cus_prices.service import CusPriceOverrideService
from integrations.cus_web.pages import NewestFirst


class PriceOverridesView(PersonView):
    """The prices of the caller's tenant. Appended, never changed or removed."""

    pagination_class = NewestFirst

    @extend_schema(
        operation_id="price_overrides_list",
        parameters=[TENANT],
        responses=PriceOverrideOutput(many=True),
    )
    def get(self, request: Request) -> Response:
        """The tenant's own prices, newest first."""
        return self.page(request, self._service(request).scope(), PriceOverrideOutput)

    @extend_schema(
        operation_id="price_overrides_append",
        parameters=[TENANT],
        request=PriceOverrideInput,
        responses={201: PriceOverrideOutput, 409: None},
    )
    def post(self, request: Request) -> Response:
        """Append a price."""
        service = self._service(request)
        override = service.append(**self.fields(request, PriceOverrideInput))
        return Response(PriceOverrideOutput(override).data, status=201)

    def _service(self, request: Request) -> CusPriceOverrideService:
        return CusPriceOverrideService(tenant_of(request), actor=self.person(request))
