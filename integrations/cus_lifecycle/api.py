"""Find the integration of a request."""

import uuid
from typing import cast

from rest_framework.request import Request

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import IntegrationNotFound


def found_integration(request: Request, integration_id: uuid.UUID) -> CusIntegration:
    """The integration, if the caller may see it; for other tenants' integrations the same 404."""
    person = cast("CusUser", request.user)
    rows = visible_to(CusIntegration.objects.filter(deleted_at__isnull=True), person)
    integration = rows.filter(id=integration_id).select_related("tenant").first()
    if integration is None:
        raise IntegrationNotFound
    return integration
