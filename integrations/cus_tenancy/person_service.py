"""The operations of operators on people: roles, access and sessions."""

from typing import Literal

from django.db import transaction
from django.utils import timezone

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_accounts.second_factor_service import CusSecondFactorService
from integrations.cus_accounts.session_service import CusSessionService
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_audit.service import record_change
from integrations.cus_tenancy.member_service import CusMemberService
from integrations.cus_web.errors import CusError, OperatorsOnly


class NotYourself(CusError):
    """You can't do this to yourself. Ask another operator."""

    code, status = "not_yourself", 409


class LastOperator(CusError):
    """This is the last operator, and the service needs an operator. Make another operator first."""

    code, status = "last_operator", 409


StaffRole = Literal["operator", "support", "finance"]


class CusPersonService:
    """The operations of operators on people. Without an actor, the system is the actor."""

    def __init__(self, *, actor: CusUser | None = None) -> None:
        if actor and not actor.is_operator:
            raise OperatorsOnly
        self.actor = actor

    @transaction.atomic
    def change_role(self, person: CusUser, role: StaffRole | None) -> None:
        """Give the person a role for all tenants: operator, support or finance; or (None) no role.

        A person who joins the staff leaves their tenant, because an address belongs either to the
        staff or to a tenant. API tokens end, because they were made with other rights. Repeating a
        change has no effect. Raises NotYourself, OperatorsOnly, LastOperator.
        """
        self._require_other(person)
        self._keep_an_operator(person, is_leaving=role != "operator")
        person = CusUser.objects.select_for_update(no_key=True).get(id=person.id)
        before = staff_role(person)
        if role == before:
            return
        if role:
            self._release(person)
        person.is_superuser = role == "operator"
        person.is_support, person.is_finance = role == "support", role == "finance"
        # All people sign in to the console, for which Django demands `is_staff`.
        person.is_staff = True
        person.save(update_fields=["is_superuser", "is_support", "is_finance", "is_staff"])
        CusTokenService(person, actor=self.actor).revoke_all(now=timezone.now())
        changes = {"role": {"from": before, "to": role}}
        record_change("person.role_changed", person, actor=self.actor, changes=changes)

    @transaction.atomic
    def deactivate(self, person: CusUser) -> None:
        """Deactivate the person: their sessions and tokens end. Repeating this has no effect.

        Raises NotYourself, OperatorsOnly, LastOperator.
        """
        self._require_other(person)
        self._keep_an_operator(person, is_leaving=True)
        if CusUser.objects.filter(id=person.id, is_active=True).update(is_active=False):
            CusTokenService(person, actor=self.actor).revoke_all(now=timezone.now())
            CusSessionService(person).end_with(now=timezone.now())
            self._record("person.deactivated", person)

    @transaction.atomic
    def reactivate(self, person: CusUser) -> None:
        """Reactivate the person, with the password from before. Ended tokens stay ended."""
        if CusUser.objects.filter(id=person.id, is_active=False).update(is_active=True):
            self._record("person.reactivated", person)

    def end_sessions(self, person: CusUser) -> int:
        """End the person's sessions, but not the session of this request; return their number."""
        return CusSessionService(person, actor=self.actor).end_all(now=timezone.now())

    def reset_second_factor(self, person: CusUser) -> None:
        """Make the person set up a new authenticator at the next sign-in. Raises NotYourself."""
        self._require_other(person)
        CusSecondFactorService(person).remove(actor=self.actor)

    def _require_other(self, person: CusUser) -> None:
        if self.actor and person.id == self.actor.id:
            raise NotYourself

    def _keep_an_operator(self, person: CusUser, *, is_leaving: bool) -> None:
        """Serialise changes: otherwise two operators could deactivate each other and leave none."""
        operators = CusUser.objects.filter(is_superuser=True, is_active=True)
        locked = operators.order_by("id").select_for_update(no_key=True)
        ids = list(locked.values_list("id", flat=True))
        if self.actor and self.actor.id not in ids:
            raise OperatorsOnly
        if is_leaving and ids == [person.id]:
            raise LastOperator

    def _release(self, person: CusUser) -> None:
        membership = CusMembership.objects.filter(user=person).select_related("tenant").first()
        if membership:
            CusMemberService(membership.tenant, actor=self.actor).release(person)

    def _record(self, action: str, person: CusUser) -> None:
        tenant = CusTenant.objects.filter(memberships__user=person).first()
        record_change(action, person, actor=self.actor, tenant=tenant)


def staff_role(person: CusUser) -> StaffRole | None:
    """The person's role for all tenants, also while the person is deactivated."""
    if person.is_superuser:
        return "operator"
    if person.is_support:
        return "support"
    return "finance" if person.is_finance else None
