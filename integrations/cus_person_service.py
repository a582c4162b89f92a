"""People, as operators look after them: let in and kept out."""

from django.db import transaction
from django.utils import timezone

from integrations.cus_audit import record_change
from integrations.cus_errors import CusError, OperatorsOnly
from integrations.cus_models import CusTenant, CusUser
from integrations.cus_second_factor_service import CusSecondFactorService
from integrations.cus_token_service import CusTokenService


class NotYourself(CusError):
    """You can't do this to yourself. Ask another operator."""

    code, status = "not_yourself", 409


class CusPersonService:
    """What operators do with people. Without an actor it is the system that does it."""

    def __init__(self, *, actor: CusUser | None = None) -> None:
        if actor and not actor.is_operator:
            raise OperatorsOnly
        self.actor = actor

    @transaction.atomic
    def deactivate(self, person: CusUser) -> None:
        """Keep the person out: no session, no token works any more. Again changes nothing."""
        if self.actor and person.id == self.actor.id:
            raise NotYourself
        if CusUser.objects.filter(id=person.id, is_active=True).update(is_active=False):
            CusTokenService(person, actor=self.actor).revoke_all(now=timezone.now())
            self._record("person.deactivated", person)

    @transaction.atomic
    def reactivate(self, person: CusUser) -> None:
        """Let the person in again, with the password that they had. Ended tokens stay ended."""
        if CusUser.objects.filter(id=person.id, is_active=False).update(is_active=True):
            self._record("person.reactivated", person)

    def reset_second_factor(self, person: CusUser) -> None:
        """Make the person set up a new authenticator at the next sign-in."""
        if self.actor and person.id == self.actor.id:
            raise NotYourself
        CusSecondFactorService(person).remove(actor=self.actor)

    def _record(self, action: str, person: CusUser) -> None:
        tenant = CusTenant.objects.filter(memberships__user=person).first()
        record_change(action, person, actor=self.actor, tenant=tenant)
