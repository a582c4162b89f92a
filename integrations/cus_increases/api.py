"""Requests for increases over HTTP."""

import uuid
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations.cus_accounts.api import PersonView
from integrations.cus_accounts.permissions import IsTenantPerson, role_of, visible_to
from integrations.cus_increases.models import CusIncreaseRequest
from integrations.cus_increases.serializers import (
    IncreaseFilters,
    IncreaseInput,
    IncreaseOutput,
    RefusalInput,
)
from integrations.cus_increases.service import CusIncreaseService, RequestNotFound, Which
from integrations.cus_lifecycle.api import found_integration
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.rights import ASKERS
from integrations.cus_limits.service import LimitNotFound, integration_of
from integrations.cus_web.errors import IntegrationNotFound
from integrations.cus_web.pages import NewestFirst, filters_of


class MayAsk(IsTenantPerson):
    """A tenant's members ask too; who decides is an admin or an operator."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.method in SAFE_METHODS:
            return super().has_permission(request, view)
        return role_of(request.user) in ASKERS


class IncreaseRequestsView(PersonView):
    """Requests for temporary increases of limits."""

    permission_classes = [MayAsk]
    pagination_class = NewestFirst

    @extend_schema(
        operation_id="increase_requests_list",
        parameters=[IncreaseFilters],
        responses=IncreaseOutput(many=True),
    )
    def get(self, request: Request) -> Response:
        """The requests of the caller's tenant, newest first; for the staff, of all tenants."""
        filters = filters_of(request, IncreaseFilters)
        rows = visible_to(CusIncreaseRequest.objects.filter(**filters), self.person(request))
        return self.page(request, rows.select_related("decided_by"), IncreaseOutput)

    @extend_schema(
        operation_id="increase_requests_make",
        request=IncreaseInput,
        responses={201: IncreaseOutput, 404: None, 409: None},
    )
    def post(self, request: Request) -> Response:
        """Ask for an increase until a moment. The tenant's admins get a mail."""
        fields = self.fields(request, IncreaseInput)
        integration, which = _asked_of(request, fields)
        service = CusIncreaseService(integration.tenant, actor=self.person(request))
        made = service.ask(integration, which, now=timezone.now(), **fields)
        return Response(IncreaseOutput(made).data, status=201)


class ApproveView(PersonView):
    """Approving a request."""

    @extend_schema(
        operation_id="increase_requests_approve",
        request=None,
        responses={200: IncreaseOutput, 400: None, 409: None},
    )
    def post(self, request: Request, request_id: uuid.UUID) -> Response:
        """Approve: the increase holds from now on, and ends by itself. Never one's own request."""
        service = _service_of(self, request, request_id)
        approved = service.approve(request_id, now=timezone.now())
        return Response(IncreaseOutput(approved).data)


class RefuseView(PersonView):
    """Refusing a request."""

    @extend_schema(
        operation_id="increase_requests_refuse",
        request=RefusalInput,
        responses={200: IncreaseOutput, 409: None},
    )
    def post(self, request: Request, request_id: uuid.UUID) -> Response:
        """Refuse, and say why. Never one's own request."""
        service = _service_of(self, request, request_id)
        answer = self.fields(request, RefusalInput)["reason"]
        refused = service.refuse(request_id, now=timezone.now(), answer=answer)
        return Response(IncreaseOutput(refused).data)


class WithdrawView(PersonView):
    """Withdrawing a request."""

    permission_classes = [MayAsk]

    @extend_schema(
        operation_id="increase_requests_withdraw",
        request=None,
        responses={200: IncreaseOutput, 409: None},
    )
    def post(self, request: Request, request_id: uuid.UUID) -> Response:
        """Take one's own request back, while nobody has decided it."""
        service = _service_of(self, request, request_id)
        withdrawn = service.withdraw(request_id, now=timezone.now())
        return Response(IncreaseOutput(withdrawn).data)


def _service_of(view: PersonView, request: Request, request_id: uuid.UUID) -> CusIncreaseService:
    rows = visible_to(CusIncreaseRequest.objects.all(), view.person(request))
    found = rows.filter(id=request_id).select_related("tenant").first()
    if found is None:
        raise RequestNotFound
    return CusIncreaseService(found.tenant, actor=view.person(request))


def _asked_of(request: Request, fields: dict[str, Any]) -> tuple[CusIntegration, Which]:
    """The integration and the limit that a body names, which are taken out of `fields`."""
    named = {name: fields.pop(name, None) for name in ("limit_id", "integration_id", "limit")}
    value = fields.pop("value", None)
    if named["limit_id"] is None:
        return _own_limit_of(request, named, value)
    if named["limit"] is not None:
        raise serializers.ValidationError({"limit": "Name a limit_id or a limit, not both."})
    limit = _found_limit(request, named["limit_id"])
    if limit.integration_id is None and named["integration_id"] is not None:
        return found_integration(request, named["integration_id"]), Which(limit=limit, value=value)
    return _its_integration(limit), Which(limit=limit, value=value)


def _own_limit_of(
    request: Request, named: dict[str, Any], value: str | None
) -> tuple[CusIntegration, Which]:
    if named["limit"] is None or named["integration_id"] is None:
        text = "Name the limit: a limit_id, or an integration_id and one of its own limits."
        raise serializers.ValidationError({"limit_id": text})
    if value:
        text = "An integration's own limit counts all calls: leave the name out."
        raise serializers.ValidationError({"value": text})
    integration = found_integration(request, named["integration_id"])
    return integration, Which(own_limit=named["limit"])


def _found_limit(request: Request, limit_id: uuid.UUID) -> CusScopedLimit:
    living = CusScopedLimit.objects.filter(deleted_at__isnull=True)
    person: Any = request.user
    limit = visible_to(living, person).filter(id=limit_id).first()
    if limit is None:
        raise LimitNotFound
    return limit


def _its_integration(limit: CusScopedLimit) -> CusIntegration:
    try:
        return integration_of(limit)
    except IntegrationNotFound:
        # As a limit that never was.
        raise LimitNotFound from None
