"""Search results on what calls name: sessions, agents and end users.

A name is found as a whole, in the last `DAYS` days: the index of agents, and the bloom filters of
sessions, then answer at any number of rows. No index has end users, so the newest calls are looked
at, as for a page of a list.
"""

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, cast

from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import sees_all_tenants, shown_tenant, visible_to
from integrations.cus_console.filters import USUAL_DAYS, CusReceivedFilter
from integrations.cus_console.finders import MOST_OF_A_KIND, Hit, integration_in
from integrations.cus_console.newest_first import MOST_LOOKED_AT, Order
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.filters import calls_with
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.panels import calls_page

DAYS: Final = int(USUAL_DAYS)
WHERE_NAMES: Final = f"by their whole name, in the last {DAYS} days"
WHERE_END_USERS: Final = f"by their whole name, among the newest {MOST_LOOKED_AT:,} calls"
# A session with more calls is shown with those of them that were read.
_MOST_CALLS = 1_000


class _Place(NamedTuple):
    """Where a name was found, and when it was last called so."""

    tenant_id: uuid.UUID
    integration_id: uuid.UUID
    created_at: datetime


def find_sessions(request: HttpRequest, text: str) -> Iterator[Hit]:
    """The sessions of this name, one for each integration."""
    rows = _seen(request).filter(session_id=text, created_at__gte=Now() - timedelta(days=DAYS))
    return _hits(request, "session_id", text, _newest_places(rows[:_MOST_CALLS]))


def find_end_users(request: HttpRequest, text: str) -> Iterator[Hit]:
    """The end users of this name, one for each integration; also where rows have pseudonyms."""
    seen = _seen(request)
    named = seen.filter(calls_with("end_user", text, _tenants(request)))
    page = Order().page(
        named, None, _MOST_CALLS, indexed=seen, is_in_index=not sees_all_tenants(request.user)
    )
    return _hits(request, "end_user", text, _newest_places(page.rows))


# The index of agents begins with the tenant, so each tenant is asked for its newest call.
_AGENTS = """
SELECT found.tenant_id, found.integration_id, found.created_at
FROM cus_tenants AS asked
CROSS JOIN LATERAL (
    SELECT tenant_id, integration_id, created_at FROM cus_llm_usage AS usage
    WHERE usage.tenant_id = asked.id AND agent_id = %(agent)s
        AND created_at >= now() - make_interval(days => %(days)s)
    ORDER BY created_at DESC LIMIT 1
) AS found
WHERE asked.id = %(own)s OR %(own)s IS NULL
ORDER BY found.created_at DESC LIMIT %(most)s
"""


def find_agents(request: HttpRequest, text: str) -> Iterator[Hit]:
    """The agents of this name, one for each tenant."""
    values = {
        "own": shown_tenant(cast("CusUser", request.user)),
        "agent": text,
        "days": DAYS,
        "most": MOST_OF_A_KIND + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_AGENTS, values)
        places = [_Place(*row) for row in cursor.fetchall()]
    names = dict(
        CusTenant.objects.filter(id__in=[one.tenant_id for one in places]).values_list("id", "name")
    )
    for one in places:
        of_tenant = {"tenant": str(one.tenant_id)} if sees_all_tenants(request.user) else {}
        link = calls_page(agent_id=text, **of_tenant, **_WITHIN_DAYS)
        yield Hit(text, f"{names[one.tenant_id]}, last call {_at(one.created_at)}", link)


_WITHIN_DAYS = {CusReceivedFilter.parameter_name: USUAL_DAYS}


def _newest_places(rows: QuerySet[Any] | Sequence[Any]) -> list[_Place]:
    """The integrations of these calls, each with its newest call; the newest first."""
    newest: dict[uuid.UUID, _Place] = {}
    for row in sorted(rows, key=lambda row: row.created_at):
        newest[row.integration_id] = _Place(row.tenant_id, row.integration_id, row.created_at)
    return sorted(newest.values(), key=lambda place: place.created_at, reverse=True)


def _hits(
    request: HttpRequest, parameter: str, text: str, places: Sequence[_Place]
) -> Iterator[Hit]:
    """A result for each place, which leads to its calls."""
    shown = places[: MOST_OF_A_KIND + 1]
    integrations = CusIntegration.objects.select_related("tenant").in_bulk(
        [place.integration_id for place in shown]
    )
    for place in shown:
        one = integrations[place.integration_id]
        whose = f"{one}, {one.tenant}" if sees_all_tenants(request.user) else str(one)
        link = calls_page(integration=str(one.id), **{parameter: text}, **_WITHIN_DAYS)
        yield Hit(text, f"{whose}, last call {_at(place.created_at)}", link)


def _seen(request: HttpRequest) -> QuerySet[CusLLMUsage]:
    rows: QuerySet[CusLLMUsage] = visible_to(
        CusLLMUsage.objects.all(), cast("CusUser", request.user)
    )
    within = integration_in(request)
    return rows.filter(integration_id=within) if within else rows


def _tenants(request: HttpRequest) -> Sequence[uuid.UUID]:
    own = shown_tenant(cast("CusUser", request.user))
    return [own] if own else list(CusTenant.objects.values_list("id", flat=True))


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
