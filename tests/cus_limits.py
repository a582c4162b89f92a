"""Limits at scopes, as tests make them."""

from typing import Any

from django.db import transaction

from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_lifecycle.service import raise_config_versions
from integrations.cus_limits.models import CusScopedLimit


def make_limit(
    integration: CusIntegration, scope: str, value: str | None, **fields: Any
) -> CusScopedLimit:
    """A limit of 100 cents a month, if nothing else is given; checks know of it at once."""
    values: dict[str, Any] = {
        "unit": "cents",
        "window": "month",
        "amount": 100,
        "result": "blocked",
    }
    with transaction.atomic():
        limit = CusScopedLimit.objects.create(
            tenant_id=integration.tenant_id,
            integration_id=None if scope == "tenant" else integration.id,
            scope=scope,
            value=value,
            **values | fields,
        )
        raise_config_versions(integration.tenant)
    return limit


def change_limit(limit: CusScopedLimit, **fields: Any) -> None:
    """Change columns of a limit; checks know of it at once."""
    with transaction.atomic():
        CusScopedLimit.objects.filter(id=limit.id).update(**fields)
        raise_config_versions(limit.tenant)
