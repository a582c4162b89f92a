"""A tenant's own prices, over HTTP."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_accounts.api import TENANT, PersonView
from integrations.cus_accounts.permissions import tenant_of
from integrations.cus_prices.price_list import price_list
from integrations.cus_prices.serializers import (
    PriceOverrideInput,
    PriceOverrideOutput,
    PricePreviewOutput,
)
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
        return self.page(request, _service_of(self, request).scope(), PriceOverrideOutput)

    @extend_schema(
        operation_id="price_overrides_append",
        parameters=[TENANT],
        request=PriceOverrideInput,
        responses={201: PriceOverrideOutput, 409: None},
    )
    def post(self, request: Request) -> Response:
        """Append a price."""
        service = _service_of(self, request)
        override = service.append(**self.fields(request, PriceOverrideInput))
        return Response(PriceOverrideOutput(override).data, status=201)


class PricePreviewView(PersonView):
    """What a price would change, before it is appended for good."""

    @extend_schema(
        operation_id="price_overrides_preview",
        parameters=[TENANT],
        request=PriceOverrideInput,
        responses=PricePreviewOutput,
    )
    def post(self, request: Request) -> Response:
        """What sample calls cost without and with a price. Nothing is stored."""
        override = _service_of(self, request).checked(**self.fields(request, PriceOverrideInput))
        samples = price_list().sample_calls(override)
        return Response(PricePreviewOutput({"sample_calls": samples}).data)


def _service_of(view: PersonView, request: Request) -> CusPriceOverrideService:
    return CusPriceOverrideService(tenant_of(request), actor=view.person(request))
