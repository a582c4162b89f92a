"""Budgets in code over HTTP."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_accounts.api import PersonView
from integrations.cus_lifecycle.api import found_integration
from integrations.cus_web.pages import CusPages, filters_of
from integrations.cus_web.versions import expected_version, if_match, with_version
from telemetry.cus_clock import database_now
from telemetry.cus_holds.limit_models import CusRunLimit
from telemetry.cus_run_budgets.serializers import RunLimitChange, RunLimitFilters, RunLimitOutput
from telemetry.cus_run_budgets.service import CusRunBudgetService, RunLimitChanged
from telemetry.cus_run_budgets.uses import amounts_of

_IF_MATCH = if_match("the budget has been raised")


class LastUsedFirst(CusPages):
    """The session that was named last first."""

    ordering = ("-used_at", "session_id")


class RunLimitsView(PersonView):
    """Budgets that programs gave sessions in code."""

    pagination_class = LastUsedFirst

    @extend_schema(
        operation_id="run_limits_list",
        parameters=[RunLimitFilters],
        responses=RunLimitOutput(many=True),
    )
    def get(self, request: Request, integration_id: uuid.UUID) -> Response:
        """The integration's budgets in code, and what is left of them, the last used first."""
        service = CusRunBudgetService(found_integration(request, integration_id))
        rows = service.scope().filter(**filters_of(request, RunLimitFilters))
        pages = self.pagination_class()
        page = pages.paginate_queryset(rows, request, self) or []
        amounts = {"amounts": amounts_of(page)}
        return pages.get_paginated_response(RunLimitOutput(page, many=True, context=amounts).data)


class RunLimitView(PersonView):
    """The budget in code of one session."""

    @extend_schema(operation_id="run_limits_read", responses=RunLimitOutput)
    def get(self, request: Request, integration_id: uuid.UUID, session_id: str) -> Response:
        """Read a session's budget, and what is left of it."""
        service = CusRunBudgetService(found_integration(request, integration_id))
        return _answer(service.get(session_id))

    @extend_schema(
        operation_id="run_limits_raise",
        parameters=[_IF_MATCH],
        request=RunLimitChange,
        responses={200: RunLimitOutput, 409: None},
    )
    def patch(self, request: Request, integration_id: uuid.UUID, session_id: str) -> Response:
        """Raise what the body names; checks go by it at once, and programs by their next."""
        integration = found_integration(request, integration_id)
        service = CusRunBudgetService(integration, actor=self.person(request))
        row = service.get(session_id)
        fields = self.fields(request, RunLimitChange)
        version = expected_version(request, row.version, RunLimitChanged)
        raised = service.raise_to(
            session_id, now=database_now(), expected_version=version, **fields
        )
        return _answer(raised)


def _answer(row: CusRunLimit) -> Response:
    output = RunLimitOutput(row, context={"amounts": amounts_of([row])})
    return with_version(Response(output.data), row.version)
