"""Temporary limits that hold in place of a permanent one: a change of that binds nobody meanwhile."""

from datetime import datetime

from django.db.models import Q, QuerySet
from django.utils import timezone

from integrations.cus_lifecycle.limits import LIMITS, Limit
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import limits_holding
from integrations.cus_limits.words import limit_text, moment_text

_MOST_READ = 100


def standing_in_text(limit: CusScopedLimit, *, now: datetime) -> str | None:
    """Which temporary limits hold in place of a permanent one now, in a sentence; None if none do.

    The rule is that of `aos_sdk.cus_limit_scopes.applying`.
    """
    if limit.valid_until is not None:
        return None
    of_kind = list(_of_kind(limit, now)[:_MOST_READ])
    same = next((one for one in of_kind if one.value == limit.value), None)
    if same is not None:
        return f"{_said(same)} in place of this limit, which refuses nothing meanwhile."
    if limit.value is not None or not of_kind:
        return None
    # A limit of each value gives way to a limit of one value, for the calls of that value.
    more = f" So do {len(of_kind) - 1:,} more." if len(of_kind) > 1 else ""
    return f"{_said(of_kind[0])} in place of this limit for those calls.{more}"


def own_limits_stood_in_text(integration: CusIntegration) -> str | None:
    """Which temporary limits hold in place of an integration's own limits; None if none do."""
    return " ".join(own_limits_stood_in(integration, now=timezone.now())) or None


def own_limits_stood_in(integration: CusIntegration, *, now: datetime) -> list[str]:
    """A sentence for each own limit in whose place a temporary limit holds now."""
    owned = [own for own in LIMITS if getattr(integration, own.column)]
    if not owned:
        return []
    of_all = CusScopedLimit.objects.filter(
        _temporary(now), scope=CusScopedLimit.Scope.INTEGRATION, integration=integration
    )
    # Of several the largest applies, and comes last here.
    largest = {(one.unit, one.window): one for one in of_all.order_by("amount", "id")}
    return [
        f"{_said(standing)} in place of the {_named(own)}, which refuses nothing meanwhile."
        for own in owned
        if (standing := largest.get((own.unit.value, own.window.value)))
    ]


def _named(own: Limit) -> str:
    return f"limit “{own.label.removesuffix(' (cents)')}”"


def _of_kind(limit: CusScopedLimit, now: datetime) -> QuerySet[CusScopedLimit]:
    """The temporary limits of the same kind, the largest first: of several the largest applies."""
    kind = {name: getattr(limit, name) for name in ("scope", "tag", "unit", "window")}
    owner = {"tenant_id": limit.tenant_id, "integration_id": limit.integration_id}
    return CusScopedLimit.objects.filter(_temporary(now), **owner, **kind).order_by("-amount", "id")


def _temporary(now: datetime) -> Q:
    """The temporary limits that refuse calls now."""
    return limits_holding(now) & Q(valid_until__isnull=False)


def _said(limit: CusScopedLimit) -> str:
    assert limit.valid_until is not None
    return f"Until {moment_text(limit.valid_until)} {limit_text(limit)} holds"
