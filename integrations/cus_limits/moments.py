"""Limits that begin or end at a moment: programs learn of the moment by a raised version."""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.service import raise_config_versions, raise_versions_of
from integrations.cus_limits.models import CusScopedLimit


def announce_moments(*, now: datetime) -> int:
    """Raise the versions of integrations of which a limit began or ended; return how many limits.

    Checks go by the moments themselves, so that a late run lets no call pass a limit.
    """
    due = CusScopedLimit.objects.filter(next_change_at__lte=now)
    owners = due.order_by("tenant_id").values_list("tenant_id", "integration_id").distinct()
    return sum(_announce(tenant_id, integration_id, now) for tenant_id, integration_id in owners)


@transaction.atomic
def _announce(tenant_id: UUID, integration_id: UUID | None, now: datetime) -> int:
    # As the service does: first the owner's row, then its limits.
    if integration_id is None:
        raise_config_versions(CusTenant.objects.select_for_update(no_key=True).get(id=tenant_id))
    else:
        raise_versions_of([integration_id])
    due = CusScopedLimit.objects.filter(
        tenant_id=tenant_id, integration_id=integration_id, next_change_at__lte=now
    )
    over = due.filter(valid_until__lte=now).update(next_change_at=None)
    # The rest have begun; their end, if they have an end, is what comes next.
    return over + due.update(next_change_at=F("valid_until"))
