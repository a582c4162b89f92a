"""List the budgets in code of an integration's sessions, and raise one."""

from datetime import datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, QuerySet

from integrations.cus_accounts.models import CusUser
from integrations.cus_audit.service import SYSTEM, differences, record_change, values_of
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_lifecycle.service import locked_integration
from integrations.cus_limits.words import amount_text
from integrations.cus_web.errors import CusError, VersionMismatch
from telemetry.cus_holds.limit_models import CusRunLimit
from telemetry.cus_run_budgets.uses import UNITS

_AUDITED: Final = (*(f"raised_{unit}" for unit in UNITS), "raised_reason")


class RunLimitNotFound(CusError):
    """This session has no budget in code, or none that was used within thirty days."""

    code, status = "not_found", 404


class RunLimitChanged(VersionMismatch):
    """The budget has been raised since you read it. Read it again, and send its new ETag."""


class CusRunBudgetService:
    """The budgets in code of one integration. The caller must have checked the person's rights."""

    def __init__(self, integration: CusIntegration, *, actor: CusUser | None = None) -> None:
        self.integration = integration
        self.actor = actor

    def scope(self) -> QuerySet[CusRunLimit]:
        """All of them."""
        return CusRunLimit.objects.filter(
            tenant_id=self.integration.tenant_id, integration_id=self.integration.id
        )

    def get(self, session_id: str) -> CusRunLimit:
        """The budget of a session. Raises RunLimitNotFound."""
        # No stored text has a NUL, and PostgreSQL takes none.
        found = None if "\0" in session_id else self.scope().filter(session_id=session_id).first()
        if found is None:
            raise RunLimitNotFound
        return found

    @transaction.atomic
    def raise_to(
        self,
        session_id: str,
        *,
        reason: str,
        now: datetime,
        expected_version: int | None = None,
        **amounts: int | None,
    ) -> CusRunLimit:
        """Let a session use `cents`, `microcents`, `tokens` or `calls` in all, whatever code says.

        None takes back an increase; what is not named stays. Checks and leases go by it from the
        commit on. Raises RunLimitNotFound, RunLimitChanged if the version is not `expected_version`
        any more, ValidationError, by field, IntegrationNotFound and TenantClosed.
        """
        locked_integration(self.integration.id)
        row = self.get(session_id)
        if expected_version not in (None, row.version):
            raise RunLimitChanged
        _check(row, amounts, reason)
        before = values_of(row, _AUDITED)
        raised = {f"raised_{unit}": amount for unit, amount in amounts.items()}
        if not differences(before, raised):
            return row
        self._write(row, before | raised, reason, now)
        row = self.get(session_id)
        changes = differences(before, values_of(row, _AUDITED))
        record_change("run_budget.raised", row, actor=self.actor, changes=changes)
        return row

    def _write(self, row: CusRunLimit, values: dict[str, Any], reason: str, now: datetime) -> None:
        is_raised = any(values[f"raised_{unit}"] is not None for unit in UNITS)
        actor = self.actor.email if self.actor else SYSTEM
        self.scope().filter(session_id=row.session_id).update(
            **values
            | {
                "raised_at": now if is_raised else None,
                "raised_by": actor if is_raised else "",
                "raised_reason": reason,
                "version": F("version") + 1,
            }
        )


def _check(row: CusRunLimit, amounts: dict[str, int | None], reason: str) -> None:
    """Raise ValidationError unless each amount is more than code gave."""
    unknown = sorted(set(amounts) - set(UNITS))
    if unknown:
        msg = f"not units of a budget: {', '.join(unknown)}"
        raise TypeError(msg)
    found: dict[str, str] = {}
    if not reason.strip():
        found["reason"] = "Say why, for those who read the audit trail."
    if not amounts:
        found["reason"] = f"Name an amount to raise: {', '.join(_limited(row))}."
    for unit, amount in amounts.items():
        by_code = getattr(row, unit)
        if by_code is None:
            found[unit] = f"Code gives this session no budget in {unit}, so there is none to raise."
        elif amount is not None and amount <= by_code:
            found[unit] = (
                f"Code gives this session {amount_text(unit, by_code)}: name more, or nothing to go "
                "back to that."
            )
    if found:
        raise ValidationError(found)


def _limited(row: CusRunLimit) -> list[str]:
    return [unit for unit in UNITS if getattr(row, unit) is not None]
