"""Writing the audit trail. Every service calls this in the transaction of its change.

The trail knows rows by their ids alone. What else a change demands and entails is registered here
by those who know people (`govern_changes`).
"""

import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from django.db import models, transaction

from integrations.cus_audit.models import CusAuditEntry

if TYPE_CHECKING:
    from integrations.cus_accounts.models import CusTenant, CusUser

SYSTEM = "system"
# Said to have changed, never from what to what.
_SECRET = frozenset({"credential", "credential_ref", "password", "secret", "secret_hash", "token"})
_CHANGED = "changed"


class ChangeRules(Protocol):
    """What a change demands beforehand and entails afterwards, in its transaction."""

    def demand(self, action: str, changes: Mapping[str, Any]) -> None:
        """Raise what takes the change back, if something is missing."""

    def tell(self, entry: CusAuditEntry, target: models.Model) -> None:
        """Let people know."""


_governing: list[ChangeRules] = []


def govern_changes(rules: ChangeRules) -> None:
    """Have all changes governed by these rules. Without any, none can be recorded."""
    _governing[:] = [rules]


class AuditOutsideTransaction(RuntimeError):
    """A change and its audit entry must stand or fall together: open a transaction first."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def record_change(
    action: str,
    target: models.Model,
    *,
    actor: "CusUser | None",
    tenant: "CusTenant | None" = None,
    changes: Mapping[str, Any] | None = None,
    is_consequence: bool = False,
) -> CusAuditEntry:
    """Append what `actor` (None: the system) did to `target`, such as "integration.changed".

    `changes` is {field: {"from": …, "to": …}}, as `differences` makes it. The tenant is the
    target's own unless it is given.

    A change of access by a request needs a proof (ruling C10): raises ProofRequired or
    TokenMayNotChangeAccess, which takes the change back. People are told of it by mail, unless it
    `is_consequence`: of another change in the same transaction, of which they are told.
    """
    if not transaction.get_connection().in_atomic_block:
        raise AuditOutsideTransaction
    (rules,) = _governing
    rules.demand(action, changes or {})
    entry = CusAuditEntry.objects.create(
        tenant_id=tenant.pk if tenant else getattr(target, "tenant_id", None),
        actor=actor,
        actor_label=actor.email if actor else SYSTEM,
        action=action,
        object_type=str(target._meta.verbose_name),
        object_id=str(target.pk),
        object_label=str(target)[:255],
        changes={name: _shown(name, change) for name, change in (changes or {}).items()},
    )
    if not is_consequence:
        rules.tell(entry, target)
    return entry


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, dict[str, Any] | str]:
    """The fields of `after` that are not as in `before`, for `record_change`."""
    return {
        name: {"from": before.get(name), "to": value}
        for name, value in after.items()
        if before.get(name) != value
    }


def values_of(row: models.Model, names: Iterable[str]) -> dict[str, Any]:
    """The row's values of these fields."""
    return {name: getattr(row, name) for name in names}


def _shown(name: str, change: Any) -> Any:
    if name in _SECRET:
        return _CHANGED
    if isinstance(change, Mapping):
        return {key: _plain(value) for key, value in change.items()}
    return _plain(change)


def _plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, uuid.UUID | date | datetime | Decimal):
        return str(value)
    return value
