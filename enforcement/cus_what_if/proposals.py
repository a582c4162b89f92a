"""What a simulation tries: an integration's own limits, and those at scopes."""

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import ValidationError

from enforcement.cus_reading.known_limits import KnownLimit
from enforcement.cus_rules.facts import Authority
from integrations.cus_lifecycle.limits import LimitColumns
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import COUNTED, CusLimitService

# What may be proposed: the columns that the ladder reads for its checks of usage.
PROPOSED: Final = (
    *LimitColumns.__struct_fields__,
    *("budget_basis", "enforcement_level", "allow_unpriced"),
)
# So many limits at scopes may be proposed at a time: as many as an integration and its tenant have.
MOST_SCOPED: Final = 400
# What may be said of each.
SCOPED_FIELDS: Final = (*COUNTED, "amount", "basis", "result", "warning_percent")
_SCOPED: Final = "scoped_limits"

Proposal = dict[str, Any]


def proposal_of(
    integration: CusIntegration,
    proposed: Mapping[str, Any],
    scoped: Sequence[Mapping[str, Any]] | None,
    *,
    now: datetime,
) -> Proposal:
    """All that is replayed: what is `proposed`, else what the integration has now.

    `scoped`: the limits at scopes, all of them, as fields of `CusLimitService.create`; None for the
    permanent ones that hold now. Raises ValidationError, by field.
    """
    unknown = sorted(set(proposed) - set(PROPOSED))
    if unknown:
        msg = f"not fields that may be proposed: {', '.join(unknown)}"
        raise TypeError(msg)
    changed = copy(integration)
    for name, value in proposed.items():
        setattr(changed, name, value)
    others = {field.name for field in changed._meta.get_fields()} - set(PROPOSED)
    changed.clean_fields(exclude=others)
    values = {name: getattr(changed, name) for name in PROPOSED}
    # The bound of holds is not proposed, and binds as it does now.
    values["max_live_holds"] = integration.max_live_holds
    if scoped is None:
        present = permanent_limits(integration, now=now)
        entries = [_entry(limit, str(limit.id)) for limit in present]
    else:
        entries = [_entry(limit, None) for limit in _drafted(CusLimitService(changed), scoped, now)]
    return values | {_SCOPED: entries}


def permanent_limits(integration: CusIntegration, *, now: datetime) -> Sequence[CusScopedLimit]:
    """The limits at scopes that a simulation takes where none is proposed.

    A temporary limit ends by itself, and would hide the limit that somebody wants to try.
    """
    return list(CusLimitService(integration).holding(now=now).filter(valid_until__isnull=True))


def authority_of(proposal: Mapping[str, Any]) -> Authority:
    """An integration that serves, with the proposed limits."""
    served: dict[str, Any] = {"status": "enabled", "credential_state": "valid", "config_version": 1}
    own = {name: value for name, value in proposal.items() if name != _SCOPED}
    return Authority(**served, **own)


def scoped_limits_of(proposal: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The limits at scopes that are replayed; a simulation of an earlier release has none."""
    limits: Sequence[Mapping[str, Any]] = proposal.get(_SCOPED, ())
    return limits


def known_limits_of(proposal: Mapping[str, Any]) -> Sequence[KnownLimit]:
    """These limits as the ladder's rules read them. Their ids are their places in the proposal."""
    return [
        KnownLimit(
            id=str(place),
            enabled=True,
            valid_from=0.0,
            valid_until=None,
            **{name: limit[name] for name in SCOPED_FIELDS},
        )
        for place, limit in enumerate(scoped_limits_of(proposal))
    ]


def _drafted(
    service: CusLimitService, scoped: Sequence[Mapping[str, Any]], now: datetime
) -> list[CusScopedLimit]:
    """The limits that these fields would make. Raises ValidationError, which names the limit."""
    if len(scoped) > MOST_SCOPED:
        raise ValidationError({_SCOPED: f"At most {MOST_SCOPED} limits at scopes can be tried."})
    limits: dict[tuple[Any, ...], CusScopedLimit] = {}
    for number, fields in enumerate(scoped, start=1):
        try:
            limit = service.draft(now=now, **fields)
        except ValidationError as error:
            name, (text, *_) = next(iter(error.message_dict.items()))
            raise ValidationError({_SCOPED: f"Limit {number}, {name}: {text}"}) from None
        kind = tuple(getattr(limit, name) for name in COUNTED)
        if kind in limits:
            text = f"Limit {number} counts the same as one before it: {limit}. Leave one out."
            raise ValidationError({_SCOPED: text})
        limits[kind] = limit
    return list(limits.values())


def _entry(limit: CusScopedLimit, limit_id: str | None) -> dict[str, Any]:
    return {"limit_id": limit_id} | {name: getattr(limit, name) for name in SCOPED_FIELDS}
