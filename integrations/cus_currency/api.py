"""A tenant's display rates, over HTTP."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_accounts.api import TENANT, PersonView
from integrations.cus_accounts.permissions import tenant_of
from integrations.cus_currency.serializers import DisplayRateInput, DisplayRateOutput
from integrations.cus_currency.service import CusDisplayRateService
from integrations.cus_web.pages import NewestFirst


class DisplayRatesView(PersonView):
    """The rates at which people see amounts beside US dollars. Appended, never changed."""

    pagination_class = NewestFirst

    @extend_schema(
        operation_id="display_rates_list",
        parameters=[TENANT],
        responses=DisplayRateOutput(many=True),
    )
    def get(self, request: Request) -> Response:
        """The tenant's display rates, newest first."""
        return self.page(request, self._service(request).scope(), DisplayRateOutput)

    @extend_schema(
        operation_id="display_rates_append",
        parameters=[TENANT],
        request=DisplayRateInput,
        responses={201: DisplayRateOutput, 409: None},
    )
    def post(self, request: Request) -> Response:
        """Append a rate."""
        rate = self._service(request).append(**self.fields(request, DisplayRateInput))
        return Response(DisplayRateOutput(rate).data, status=201)

    def _service(self, request: Request) -> CusDisplayRateService:
        return CusDisplayRateService(tenant_of(request), actor=self.person(request))
