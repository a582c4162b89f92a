"""Gauges of limits at scopes. A series is of a limit, never of a value that the limit counts."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from django.conf import settings

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import limits_holding
from integrations.cus_limits.uses import Uses
from telemetry.cus_holds.scoped_uses import uses_of
from telemetry.cus_signals.exposition import CusFamily, gauge, labels_of
from telemetry.cus_time_limits import TooSlow, statements_within

# How long reading all limits may take, and if it takes longer, those of each tenant.
_ALL_MILLISECONDS: Final = 3_000
_TENANT_MILLISECONDS: Final = 200
# The label `integration_id` of a limit over all integrations of a tenant.
_ALL = "all"


def limit_families(now: datetime) -> Iterator[CusFamily]:
    """The gauges of limits in force, the oldest first, up to the setting's bound."""
    in_force = gauge("cus_enforcement_limits_in_force", "Limits at scopes that are in force.")
    amount = gauge("cus_enforcement_limit_amount", "The limit: cents, tokens or calls.")
    used = gauge("cus_enforcement_limit_used", "What landed of the fullest value of a limit.")
    ratio = gauge(
        "cus_enforcement_limit_utilization_ratio",
        "What landed, is held and is lent of the fullest value, of the limit.",
    )
    values = gauge(
        "cus_enforcement_limit_values", "Values that a limit counts now, at most 100,001."
    )
    unread = gauge(
        "cus_enforcement_limits_unread",
        "Limits whose tenant has too many values of limits to be read for a scrape.",
    )
    scope = CusScopedLimit.objects.filter(limits_holding(now)).order_by("created_at", "id")
    in_force.add("", scope.count())
    shown = list(scope[: settings.CUS_METRICS_LIMITS_IN_ALL])
    uses = _uses_of_all(shown)
    unread.add("", len(shown) - len(uses))
    for limit in shown:
        labels, found = _labels(limit), uses.get(limit.id)
        amount.add(labels, limit.amount)
        if found is None:
            continue
        values.add(labels, found.values)
        # Of too many values nobody knows the fullest.
        if not found.are_many:
            used.add(labels, _used(limit, found))
            ratio.add(labels, _ratio(limit, found))
    yield from (in_force, amount, used, ratio, values, unread)


def _uses_of_all(limits: Sequence[CusScopedLimit]) -> Mapping[UUID, Uses]:
    """The uses of all limits, read at once; if that takes too long, of the tenants whose limits are
    read quickly: no tenant's many values keep the others' figures from being scraped."""
    uses = _uses_in_time(limits, _ALL_MILLISECONDS) if limits else {}
    if uses is not None:
        return uses
    of_tenants: dict[UUID, list[CusScopedLimit]] = {}
    for limit in limits:
        of_tenants.setdefault(limit.tenant_id, []).append(limit)
    found: dict[UUID, Uses] = {}
    for some in of_tenants.values():
        found |= _uses_in_time(some, _TENANT_MILLISECONDS) or {}
    return found


def _uses_in_time(
    limits: Sequence[CusScopedLimit], milliseconds: int
) -> Mapping[UUID, Uses] | None:
    try:
        with statements_within(milliseconds):
            return uses_of(limits, most=1)
    except TooSlow:
        return None


def _labels(limit: CusScopedLimit) -> str:
    whose = labels_of(str(limit.tenant_id), str(limit.integration_id or _ALL))
    what = f'limit_id="{limit.id}",scope="{limit.scope}",unit="{limit.unit}"'
    return f'{whose},{what},window="{limit.window}"'


def _used(limit: CusScopedLimit, uses: Uses) -> float:
    used = uses.fullest[0].used if uses.fullest else 0
    return used / _parts(limit)


def _ratio(limit: CusScopedLimit, uses: Uses) -> float:
    taken = uses.fullest[0].taken if uses.fullest else 0
    return taken / (limit.amount * _parts(limit))


def _parts(limit: CusScopedLimit) -> int:
    """How many parts of its unit a use counts: microcents of a cent."""
    return MICROCENTS_PER_CENT if limit.unit == CusScopedLimit.Unit.CENTS else 1
