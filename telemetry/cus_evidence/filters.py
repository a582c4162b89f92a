"""By which facts of a call, beside model and outcome, lists of calls are filtered."""

import uuid
from collections.abc import Iterable
from typing import Final

from django.db.models import Exists, OuterRef, Q
from django.db.models.expressions import CombinedExpression

from aos_sdk.cus_wire import MAX_TAGS
from integrations.cus_lifecycle.end_users import CusEndUsers
from integrations.cus_lifecycle.scope_words import scope_word
from telemetry.cus_evidence.models import CusLLMUsage

# The names of the filters, and how people call them. Each takes a whole value. No index has these
# columns but for `agent_id`, so a list that offers the filters has a bound in time as well.
CALL_FILTERS: Final = {
    **{name: scope_word(name) for name in ("session_id", "agent_id", "end_user")},
    "tag": "tag (key=value, or a key)",
    "response_id": "id of the answer",
    "provider_request_id": "id of the request",
    "provider_project": "provider's project",
    "provider_key_hint": "end of the provider's key",
}


def calls_with(name: str, value: str, tenants: Iterable[uuid.UUID]) -> Q:
    """The usage rows that have this value, by the name of a filter in `CALL_FILTERS`.

    An end user is found by the name, also where rows have a pseudonym: `tenants` are those whose
    rows are looked at.
    """
    if name == "tag":
        return _tagged(value)
    if name == "end_user":
        spellings = {value}.union(*(CusEndUsers(tenant).spellings(value) for tenant in tenants))
        return Q(end_user__in=sorted(spellings))
    return Q((name, value))


def _tagged(tag: str) -> Q:
    if "=" in tag:
        return Q(tags__contains=[tag])
    places = (Q((f"tags__{place}__startswith", f"{tag}=")) for place in range(MAX_TAGS))
    return Q.create(list(places), connector=Q.OR)


def of_calls(calls: Q, since: CombinedExpression | None = None) -> Exists:
    """For rows that name a call by integration and call id: whether these usage rows are its.

    `since`: no usage that was received before that is looked at.
    """
    rows = CusLLMUsage.objects.filter(
        calls,
        tenant_id=OuterRef("tenant_id"),
        integration_id=OuterRef("integration_id"),
        call_id=OuterRef("call_id"),
    )
    return Exists(rows.filter(created_at__gte=since) if since else rows)


def of_usage(calls: Q) -> Exists:
    """For rows that name a usage row (`usage_id`, `usage_created_at`): whether it is among these."""
    return Exists(
        CusLLMUsage.objects.filter(
            calls,
            tenant_id=OuterRef("tenant_id"),
            created_at=OuterRef("usage_created_at"),
            id=OuterRef("usage_id"),
        )
    )
