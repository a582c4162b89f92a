"""Writing the audit trail. Every service calls this in the transaction of its change."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import models, transaction

from integrations.cus_accounts.access_changes import changes_access, tell_people
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.proof import is_person_asking, require_proof
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_tenancy.models import CusTenant

SYSTEM = "system"
# Said to have changed, never from what to what.
_SECRET = frozenset({"credential", "credential_ref", "password", "secret", "secret_hash", "token"})
_CHANGED = "changed"


class AuditOutsideTransaction(RuntimeError):
    """A change and its audit entry must stand or fall together: open a transaction first."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def record_change(
    action: str,
    target: models.Model,
    *,
    actor: CusUser | None,
    tenant: CusTenant | None = None,
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
    is_of_access = changes_access(action, changes or {})
    if is_of_access:
        require_proof()
    entry = CusAuditEntry.objects.create(
        tenant=tenant or _tenant_of(target),
        actor=actor,
        actor_label=actor.email if actor else SYSTEM,
        action=action,
        object_type=str(target._meta.verbose_name),
        object_id=str(target.pk),
        object_label=str(target)[:255],
        changes={name: _shown(name, change) for name, change in (changes or {}).items()},
    )
    if is_of_access and is_person_asking() and not is_consequence:
        tell_people(entry, target)
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


def _tenant_of(target: models.Model) -> CusTenant | None:
    return target if isinstance(target, CusTenant) else getattr(target, "tenant", None)


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
