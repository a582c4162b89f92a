"""Limits at scopes, as tests make them."""

from typing import Any

from django.conf import settings
from django.db import connection, transaction
from psycopg import sql

from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_lifecycle.service import raise_config_versions
from integrations.cus_limits.models import CusScopedLimit
from telemetry.cus_holds.limit_models import CusRunLimit
from telemetry.cus_holds.limit_sums import run_limit_id

_DECIDER = sql.Identifier(settings.CUS_DECIDER_ROLE)


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


def make_run_limit(integration: CusIntegration, session_id: str, **amounts: int) -> CusRunLimit:
    """A session's budget in code, as checks make it: of 100 cents, if nothing else is given."""
    values = amounts or {"cents": 100}
    limit_id = run_limit_id(integration.id, session_id)
    columns = ("tenant_id", "integration_id", "session_id", "limit_id", *values)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(_DECIDER))
        cursor.execute(
            sql.SQL("INSERT INTO cus_run_limits ({}) VALUES ({})").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
            ),
            [integration.tenant_id, integration.id, session_id, limit_id, *values.values()],
        )
        cursor.execute("RESET ROLE")
    return CusRunLimit.objects.get(limit_id=limit_id)


def change_limit(limit: CusScopedLimit, **fields: Any) -> None:
    """Change columns of a limit; checks know of it at once."""
    with transaction.atomic():
        CusScopedLimit.objects.filter(id=limit.id).update(**fields)
        raise_config_versions(limit.tenant)
