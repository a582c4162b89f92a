"""People of a tenant: invited, given a role, removed.

An invitation is a membership that has an address and no person yet. It becomes theirs when they
set a password through the link in the mail. Inviting an address that belongs to another tenant
looks the same from here as inviting one that nobody answers for: it stays open, and only the
mail says why. So no tenant can find out who is another's.
"""

import uuid

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_accounts.session_service import CusSessionService
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_audit.service import record_change
from integrations.cus_tenancy.member_mail import mail_invitation
from integrations.cus_web.conflicts import refused_by
from integrations.cus_web.errors import (
    AlreadyMember,
    LastAdmin,
    MemberNotFound,
    OperatorsOnly,
    OwnRole,
    TenantClosed,
)
from integrations.cus_web.quotas import INVITATIONS, PEOPLE

_ADMIN = CusMembership.Role.ADMIN


class CusMemberService:
    """The people of one tenant. `actor` is who asks; None is the system."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    def scope(self) -> QuerySet[CusMembership]:
        """The tenant's people and its open invitations."""
        return CusMembership.objects.filter(tenant=self.tenant).select_related("user", "tenant")

    def get(self, pk: uuid.UUID | str) -> CusMembership:
        """One of the tenant's people or invitations. Raises MemberNotFound."""
        try:
            return self.scope().get(id=pk)
        except (CusMembership.DoesNotExist, ValidationError):
            raise MemberNotFound from None

    @transaction.atomic
    def invite(self, *, email: str, role: str) -> CusMembership:
        """Invite an address, by mail.

        Raises ValidationError, AlreadyMember, TenantClosed, QuotaExceeded, MailLimitReached.
        """
        self._lock()
        membership = CusMembership(tenant=self.tenant, invited_email=email, role=role)
        if not email:
            raise ValidationError({"invited_email": "Enter the address to invite."})
        membership.clean_fields()
        self._require_room()
        INVITATIONS.require_room(self.scope().filter(user=None))
        if self.scope().filter(Q(user__email__iexact=email)).exists():
            raise AlreadyMember
        with refused_by(cus_memberships_invited_once=AlreadyMember):
            membership.save(force_insert=True)
        self._record("member.invited", membership, None, membership.role)
        person = _person(email)
        mail_invitation(membership, person, may_join=may_join(person))
        return membership

    @transaction.atomic
    def add(self, user: CusUser, role: str) -> CusMembership:
        """Make a known person a member at once. For operators and the system alone."""
        if self.actor and not self.actor.is_operator:
            raise OperatorsOnly
        self._lock()
        self._require_room()
        membership = CusMembership(tenant=self.tenant, user=user, role=role)
        membership.full_clean()
        membership.save(force_insert=True)
        self._record("member.added", membership, None, membership.role)
        return membership

    @transaction.atomic
    def change_role(self, pk: uuid.UUID | str, role: str) -> CusMembership:
        """Give somebody another role. Raises OwnRole, LastAdmin, MemberNotFound, ValidationError."""
        self._lock()
        membership = self.get(pk)
        if self.actor and membership.user_id == self.actor.id:
            raise OwnRole
        before, membership.role = membership.role, role
        membership.clean_fields()
        if role == before:
            return membership
        if role != _ADMIN:
            self._keep_an_admin(membership)
        membership.save(update_fields=["role"])
        self._record("member.role_changed", membership, before, membership.role)
        return membership

    @transaction.atomic
    def remove(self, pk: uuid.UUID | str) -> None:
        """End a membership or withdraw an invitation. Raises LastAdmin, MemberNotFound.

        The person stays, for the audit trail names them, and has no role, no password and so
        no session and no living token any more.
        """
        self._lock()
        membership = self.get(pk)
        self._keep_an_admin(membership)
        person = membership.user
        self._end(membership)
        if person:
            # A session holds as long as the password that it was opened with.
            person.set_unusable_password()
            person.save(update_fields=["password"])
            CusSessionService(person).end_with(now=timezone.now())

    @transaction.atomic
    def end_sessions(self, pk: uuid.UUID | str) -> int:
        """Sign a person of the tenant out everywhere; who does it to themselves stays here.

        How many sessions ended. Raises MemberNotFound.
        """
        person = self.get(pk).user
        if person is None:
            return 0
        return CusSessionService(person, actor=self.actor).end_all(now=timezone.now())

    @transaction.atomic
    def release(self, person: CusUser) -> None:
        """End the membership of who joins the service's own staff, and keeps their password.

        For operators and the system alone: it may leave the tenant without an admin.
        """
        if self.actor and not self.actor.is_operator:
            raise OperatorsOnly
        membership = self.scope().filter(user=person).first()
        if membership:
            self._end(membership)

    def _end(self, membership: CusMembership) -> None:
        # The person is locked before their mails are counted, as where a token is issued.
        if membership.user:
            CusTokenService(membership.user, actor=self.actor).revoke_all(now=timezone.now())
        self._record("member.removed", membership, membership.role, None)
        membership.delete()

    def _lock(self) -> None:
        """One change at a time: two admins who remove each other would leave nobody."""
        tenants = CusTenant.objects.select_for_update(no_key=True)
        if tenants.get(id=self.tenant.id).closed_at:
            raise TenantClosed

    def _require_room(self) -> None:
        PEOPLE.require_room(self.scope())

    def _keep_an_admin(self, leaving: CusMembership) -> None:
        if self.actor is None or self.actor.is_operator or not _is_admin(leaving):
            return
        others = self.scope().filter(role=_ADMIN, user__is_active=True).exclude(id=leaving.id)
        if not others.exists():
            raise LastAdmin

    def _record(
        self, action: str, membership: CusMembership, before: str | None, after: str | None
    ) -> None:
        changes = {"role": {"from": before, "to": after}}
        record_change(action, membership, actor=self.actor, changes=changes)


def may_join(person: CusUser) -> bool:
    """Whether an invitation can become this person's: they belong to nobody yet."""
    taken = person.is_superuser or person.is_support or not person.is_active
    return not taken and not CusMembership.objects.filter(user=person).exists()


@transaction.atomic
def accept_invitation(person: CusUser, invitation: uuid.UUID) -> CusMembership | None:
    """Make this open invitation of the person's address theirs; None if it is none.

    Called when they have set a password by the link that was mailed to that address, which names
    the invitation: who invites first must not have whom another tenant invites.
    """
    person = CusUser.objects.select_for_update(no_key=True).get(id=person.id)
    if not may_join(person):
        return None
    invitations = CusMembership.objects.select_for_update(of=("self",), no_key=True)
    membership = invitations.filter(
        id=invitation,
        user=None,
        invited_email__iexact=person.email,
        tenant__closed_at__isnull=True,
    ).first()
    if membership is None:
        return None
    membership.user = person
    membership.save(update_fields=["user"])
    # They set their password with it, and are told of that.
    record_change("member.joined", membership, actor=person, is_consequence=True)
    return membership


def _is_admin(membership: CusMembership) -> bool:
    return membership.role == _ADMIN and membership.user is not None


def _person(email: str) -> CusUser:
    """Whom the address signs in as; made, without a password, if it is nobody yet."""
    known = CusUser.objects.filter(email__iexact=email)
    person = known.first()
    if person:
        return person
    try:
        with transaction.atomic():
            return CusUser.objects.create_user(email, is_staff=True)
    except IntegrityError:
        # Another tenant invited the same address at the same moment.
        return known.get()
