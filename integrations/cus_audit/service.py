"""Write the audit trail. Every service calls this in the transaction of its change.

The trail knows rows by their ids alone. The rooms that know people register further rules for
changes by `govern_changes`.
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
# The trail records that these fields have changed, never their values.
_SECRET = frozenset({"credential", "credential_ref", "password", "secret", "secret_hash", "token"})
_CHANGED = "changed"


class ChangeRules(Protocol):
    """Rules for changes: conditions before a change and notices after, in its transaction."""

    def demand(self, action: str, changes: Mapping[str, Any]) -> None:
        """Raise an error, which rolls the change back, if a condition is not met."""

    def tell(self, entry: CusAuditEntry, target: models.Model) -> None:
        """Notify people of the change."""


_governing: list[ChangeRules] = []


def govern_changes(rules: ChangeRules) -> None:
    """Register the rules for all changes. Without rules, no change can be recorded."""
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
    """Append a change by `actor` (None: the system) to `target`, such as "integration.changed".

    `changes` is {field: {"from": …, "to": …}}, as `differences` returns it. The entry has the
    target's tenant unless `tenant` is given, and its `audit_id` where a row has no key of one column.

    A change of access by a request needs a proof (ruling C10): raises ProofRequired or
    TokenMayNotChangeAccess, which rolls the change back. People get a mail about the change, unless
    it `is_consequence` of another change in the same transaction, which has a mail of its own.
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
        object_id=str(getattr(target, "audit_id", target.pk)),
        object_label=str(target)[:255],
        changes={name: _shown(name, change) for name, change in (changes or {}).items()},
    )
    if not is_consequence:
        rules.tell(entry, target)
    return entry


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, dict[str, Any] | str]:
    """The fields whose values differ between `before` and `after`, for `record_change`."""
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
    """The value in a form that JSON can hold."""
    if isinstance(value, uuid.UUID | date | datetime | Decimal):
        return str(value)
    return value
