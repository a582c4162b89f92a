"""Limits at scopes over HTTP."""

import uuid

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_accounts.api import PersonView
from integrations.cus_lifecycle.api import found_integration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.serializers import LimitChange, LimitDetail, LimitInput, LimitOutput
from integrations.cus_limits.service import CusLimitService, LimitChanged
from integrations.cus_limits.uses import uses_of
from integrations.cus_web.pages import NewestFirst
from integrations.cus_web.versions import expected_version, if_match, with_version

_IF_MATCH = if_match("the limit has changed")


class ScopedLimitsView(PersonView):
    """Limits of an agent, a session, a person, a tag, a model; by minute, day, week, month."""

    pagination_class = NewestFirst

    @extend_schema(operation_id="scoped_limits_list", responses=LimitOutput(many=True))
    def get(self, request: Request, integration_id: uuid.UUID) -> Response:
        """The integration's limits and its tenant's over all integrations, newest first."""
        service = CusLimitService(found_integration(request, integration_id))
        return self.page(request, service.scope(), LimitOutput)

    @extend_schema(
        operation_id="scoped_limits_make",
        request=LimitInput,
        responses={201: LimitDetail, 409: None},
    )
    def post(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Make a limit. What was used in the present window counts from the start.

        One of scope `tenant` holds over all of the tenant's integrations.
        """
        integration = found_integration(request, integration_id)
        fields = self.fields(request, LimitInput)
        service = CusLimitService(integration, actor=self.person(request))
        return _answer(service.create(now=timezone.now(), **fields), status=201)


class ScopedLimitView(PersonView):
    """One limit."""

    @extend_schema(operation_id="scoped_limits_read", responses=LimitDetail)
    def get(self, request: Request, integration_id: uuid.UUID, limit_id: uuid.UUID) -> Response:
        """Read a limit."""
        service = CusLimitService(found_integration(request, integration_id))
        return _answer(service.get(limit_id))

    @extend_schema(
        operation_id="scoped_limits_change",
        parameters=[_IF_MATCH],
        request=LimitChange,
        responses={200: LimitDetail, 409: None},
    )
    def patch(self, request: Request, integration_id: uuid.UUID, limit_id: uuid.UUID) -> Response:
        """Change what the body names. What a limit counts never changes.

        `stood_in_for` says if a temporary limit holds in its place, so that the change binds later.
        """
        service = self._service(request, integration_id)
        limit = service.get(limit_id)
        fields = self.fields(request, LimitChange, partial=True)
        changed = service.change(
            limit_id,
            now=timezone.now(),
            expected_version=expected_version(request, limit.version, LimitChanged),
            **fields,
        )
        return _answer(changed)

    @extend_schema(
        operation_id="scoped_limits_delete",
        parameters=[_IF_MATCH],
        responses={204: OpenApiResponse(description="The limit holds no more.")},
    )
    def delete(self, request: Request, integration_id: uuid.UUID, limit_id: uuid.UUID) -> Response:
        """Delete a limit."""
        service = self._service(request, integration_id)
        version = expected_version(request, service.get(limit_id).version, LimitChanged)
        service.delete(limit_id, now=timezone.now(), expected_version=version)
        return Response(status=204)

    def _service(self, request: Request, integration_id: uuid.UUID) -> CusLimitService:
        integration = found_integration(request, integration_id)
        return CusLimitService(integration, actor=self.person(request))


def _answer(limit: CusScopedLimit, *, status: int = 200) -> Response:
    shown = LimitDetail(limit, context={"uses": uses_of([limit])})
    return with_version(Response(shown.data, status=status), limit.version)
