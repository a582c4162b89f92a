"""Integrations over HTTP (§4.1)."""

import uuid
from collections.abc import Callable
from typing import Any, cast

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_accounts.api import TENANT, PersonView
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import role_of, sees_all_tenants, tenant_of, visible_to
from integrations.cus_integrations.serializers import (
    ChangedIntegration,
    IntegrationChange,
    IntegrationCreate,
    IntegrationFilters,
    IntegrationFiltersOfAll,
    IntegrationOutput,
)
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.api import found_integration
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.pages import CusPages, filters_of
from integrations.cus_web.versions import expected_version, if_match, with_version

_Method = Callable[..., Response]

_IF_MATCH = if_match("the integration has changed")


def service_of(request: Request, integration: CusIntegration) -> CusIntegrationService:
    """The service of the integration's tenant, for the caller."""
    return CusIntegrationService(integration.tenant, actor=_person(request))


class IntegrationPages(CusPages):
    """In the order that the query asks for."""

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> tuple[str, ...]:
        ordering = request.query_params.get("ordering", "name")
        return (ordering, "-id" if ordering.startswith("-") else "id")


class IntegrationsView(PersonView):
    """The integrations of the caller's tenant; for the staff, of all tenants."""

    pagination_class = IntegrationPages

    @extend_schema(
        operation_id="integrations_list",
        parameters=[IntegrationFiltersOfAll],
        responses=IntegrationOutput(many=True),
    )
    def get(self, request: Request) -> Response:
        """List integrations."""
        sees_all = sees_all_tenants(request.user)
        filters = filters_of(request, IntegrationFiltersOfAll if sees_all else IntegrationFilters)
        rows = visible_to(CusIntegration.objects.filter(deleted_at__isnull=True), _person(request))
        return self.page(
            request, _filtered(rows, **filters), IntegrationOutput, **_shown_to(request)
        )

    @extend_schema(
        operation_id="integrations_create",
        parameters=[TENANT],
        request=IntegrationCreate,
        responses={201: IntegrationOutput, 409: None},
    )
    def post(self, request: Request) -> Response:
        """Make an integration. It serves once it is enabled."""
        tenant = tenant_of(request)
        fields = self.fields(request, IntegrationCreate)
        made = CusIntegrationService(tenant, actor=self.person(request)).create(**fields)
        return _answer(request, made, status=201)


def _describes_change(operation_id: str) -> Callable[[_Method], _Method]:
    """Describe in the OpenAPI document both methods that change an integration."""
    return extend_schema(
        operation_id=operation_id,
        parameters=[_IF_MATCH],
        request=IntegrationChange,
        responses={200: ChangedIntegration, 409: None},
    )


class IntegrationView(PersonView):
    """One integration."""

    @extend_schema(operation_id="integrations_read", responses=IntegrationOutput)
    def get(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Read an integration. Its ETag is its `config_version`."""
        found = found_integration(request, integration_id)
        return _answer(request, service_of(request, found).get(found.id))

    @_describes_change("integrations_replace")
    def put(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Replace what may be changed; a missing credential keeps the stored one.

        A configuration that would send the stored credential to another scheme, host or port
        needs the credential again (400 `credential_required`).
        """
        return self._change(request, integration_id, partial=False)

    @_describes_change("integrations_change")
    def patch(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Change what the body names.

        A configuration that would send the stored credential to another scheme, host or port
        needs the credential again (400 `credential_required`).
        """
        return self._change(request, integration_id, partial=True)

    @extend_schema(
        operation_id="integrations_delete",
        responses={204: OpenApiResponse(description="Closed: its keys go on for ingest alone.")},
    )
    def delete(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Delete an integration. What it reported stays."""
        found = found_integration(request, integration_id)
        service_of(request, found).delete(found)
        return Response(status=204)

    def _change(self, request: Request, integration_id: uuid.UUID, *, partial: bool) -> Response:
        found = found_integration(request, integration_id)
        fields = self.fields(request, IntegrationChange, partial=partial)
        changed = service_of(request, found).change(
            found.id, expected_version=expected_version(request, found.config_version), **fields
        )
        return _answer(request, changed, shown_as=ChangedIntegration)


class EnableView(PersonView):
    """Enabling an integration."""

    @extend_schema(
        operation_id="integrations_enable",
        request=None,
        responses={200: IntegrationOutput, 400: None, 409: None},
    )
    def post(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Enable an integration. Enabling an enabled integration changes nothing.

        400 `credential_required` if the credential would go to another address than the address
        that it was entered for.
        """
        found = found_integration(request, integration_id)
        return _answer(request, service_of(request, found).enable(found))


class DisableView(PersonView):
    """Disabling an integration."""

    @extend_schema(
        operation_id="integrations_disable",
        request=None,
        responses={200: IntegrationOutput, 409: None},
    )
    def post(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Disable an integration, whatever its status. It stays disabled until it is enabled."""
        found = found_integration(request, integration_id)
        return _answer(request, service_of(request, found).disable(found))


def _person(request: Request) -> CusUser:
    return cast("CusUser", request.user)  # IsTenantPerson has checked the type.


def _filtered(
    rows: QuerySet[CusIntegration], *, search: str = "", ordering: str = "", **exact: Any
) -> QuerySet[CusIntegration]:
    """Filter the rows. `ordering` is left to the pages, whose cursors depend on the order."""
    rows = rows.filter(**exact).select_related("stored_credential")
    return rows.filter(name__icontains=search) if search else rows


def _shown_to(request: Request) -> dict[str, bool]:
    # Support and finance see nothing of a credential, not even its last characters (ruling C9).
    return {"shows_credentials": role_of(request.user) not in ("support", "finance")}


def _answer(
    request: Request,
    integration: CusIntegration,
    *,
    status: int = 200,
    shown_as: type[IntegrationOutput] = IntegrationOutput,
) -> Response:
    # No 304 by this ETag: the health in the body changes without a new version.
    shown = shown_as(integration, context=_shown_to(request))
    return with_version(Response(shown.data, status=status), integration.config_version)
