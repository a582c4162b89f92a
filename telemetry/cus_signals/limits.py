"""Gauges of limits at scopes. A series is of a limit, never of a value that the limit counts."""

from collections.abc import Iterator
from datetime import datetime

from django.conf import settings

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import limits_holding
from integrations.cus_limits.uses import Uses
from telemetry.cus_holds.scoped_uses import uses_of
from telemetry.cus_signals.exposition import CusFamily, gauge, labels_of

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
    values = gauge("cus_enforcement_limit_values", "Values that a limit counts now.")
    scope = CusScopedLimit.objects.filter(limits_holding(now)).order_by("created_at", "id")
    in_force.add("", scope.count())
    shown = list(scope[: settings.CUS_METRICS_LIMITS_IN_ALL])
    uses = uses_of(shown, most=1)
    for limit in shown:
        labels, found = _labels(limit), uses[limit.id]
        amount.add(labels, limit.amount)
        values.add(labels, found.values)
        # Of too many values nobody knows the fullest.
        if not found.are_many:
            used.add(labels, _used(limit, found))
            ratio.add(labels, _ratio(limit, found))
    yield from (in_force, amount, used, ratio, values)


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
