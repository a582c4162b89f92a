"""Find the integrations that are due for a check, and spread the checks over the next seconds.

Beat runs a round every few seconds. A round spreads the due checks over its seconds, the longest
unchecked first, and takes a limited number of each tenant: the first integration of a tenant with
500 is checked no sooner than the only integration of another tenant. An integration without a place
in this round is due in the next round.
"""

import random
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from integrations.cus_lifecycle.models import CusIntegration

ROUND_SECONDS = 15.0
# The most checks of one tenant in one round.
MOST_OF_A_TENANT = 60
_Status = CusIntegration.Status
# Disabled integrations serve no program, so they are not checked. Integrations in error are
# checked, because otherwise they could not recover; created integrations are checked, so that
# people know before enabling whether they work.
CHECKED_STATUSES = (_Status.CREATED, _Status.ENABLED, _Status.ERROR)


@dataclass(frozen=True)
class DueCheck:
    """A check, to begin after `delay_seconds`."""

    integration_id: uuid.UUID
    delay_seconds: float


def checkable() -> QuerySet[CusIntegration]:
    """The integrations of all tenants that beat checks."""
    return CusIntegration.objects.filter(
        deleted_at__isnull=True, tenant__closed_at__isnull=True, status__in=CHECKED_STATUSES
    )


def stale(now: datetime) -> QuerySet[CusIntegration]:
    """The integrations whose last check is an interval ago, or that were never checked."""
    before = now - timedelta(seconds=settings.CUS_HEALTH_CHECK_SECONDS)
    never_or_long_ago = Q(health_checked_at__isnull=True) | Q(health_checked_at__lte=before)
    return checkable().filter(never_or_long_ago)


def due_checks(now: datetime) -> list[DueCheck]:
    """The checks of the next round, spread over it; every tenant's first before any's second."""
    if not settings.CUS_HEALTH_CHECK_SECONDS:
        return []
    place = Window(
        RowNumber(),
        partition_by=F("tenant_id"),
        order_by=[F("health_checked_at").asc(nulls_first=True), F("id").asc()],
    )
    ranked = stale(now).annotate(place=place).filter(place__lte=MOST_OF_A_TENANT)
    rows = list(ranked.order_by("place", "tenant_id").values_list("id", "tenant_id", "place"))
    counts = Counter(tenant_id for _, tenant_id, _ in rows)
    return [
        DueCheck(integration_id, _delay(place - 1, counts[tenant_id]))
        for integration_id, tenant_id, place in rows
    ]


def _delay(number: int, count: int) -> float:
    # A random moment within the check's own share of the round: evenly spread, and never with the
    # checks of all tenants at once.
    return ROUND_SECONDS * (number + random.random()) / count  # noqa: S311  (not a secret)
