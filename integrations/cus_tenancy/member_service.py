"""Invite people to a tenant, change their roles, remove them.

An invitation is a membership that has an address and no person yet. The person joins by setting a
password through the link in the mail. If the address belongs to another tenant, the invitation
stays open, as for an address that does not answer, and only the mail gives the reason. So a tenant
can't find out the people of another tenant.
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
    """The people of one tenant. `actor` is the person who makes changes; None is the system."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    def scope(self) -> QuerySet[CusMembership]:
        """The tenant's people and its open invitations."""
        return CusMembership.objects.filter(tenant=self.tenant).select_related("user", "tenant")

    def get(self, pk: uuid.UUID | str) -> CusMembership:
        """The tenant's member or invitation of this id. Raises MemberNotFound."""
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
        """Make an existing person a member at once. For operators and the system alone."""
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
        """Change a member's role. Raises OwnRole, LastAdmin, MemberNotFound, ValidationError."""
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

        The person's row stays, because the audit trail refers to it. The person has no role and no
        password any more, so their sessions and tokens end.
        """
        self._lock()
        membership = self.get(pk)
        self._keep_an_admin(membership)
        person = membership.user
        self._end(membership)
        if person:
            # Django ends the sessions that were opened with the old password.
            person.set_unusable_password()
            person.save(update_fields=["password"])
            CusSessionService(person).end_with(now=timezone.now())

    @transaction.atomic
    def end_sessions(self, pk: uuid.UUID | str) -> int:
        """End a member's sessions, but not the session of this request; return their number.

        Raises MemberNotFound.
        """
        person = self.get(pk).user
        if person is None:
            return 0
        return CusSessionService(person, actor=self.actor).end_all(now=timezone.now())

    @transaction.atomic
    def release(self, person: CusUser) -> None:
        """End the membership of a person who joins the staff and so keeps their password.

        For operators and the system alone: it may leave the tenant without an admin.
        """
        if self.actor and not self.actor.is_operator:
            raise OperatorsOnly
        membership = self.scope().filter(user=person).first()
        if membership:
            self._end(membership)

    def _end(self, membership: CusMembership) -> None:
        # Locks the person before their mails are counted, in the same order as issuing a token.
        if membership.user:
            CusTokenService(membership.user, actor=self.actor).revoke_all(now=timezone.now())
        self._record("member.removed", membership, membership.role, None)
        membership.delete()

    def _lock(self) -> None:
        """Serialise changes: otherwise two admins could remove each other and leave no admin."""
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
    """Whether the person may join a tenant: active, not staff, and in no tenant yet."""
    is_staff = person.is_superuser or person.is_support or person.is_finance
    return (
        person.is_active and not is_staff and not CusMembership.objects.filter(user=person).exists()
    )


@transaction.atomic
def accept_invitation(person: CusUser, invitation: uuid.UUID) -> CusMembership | None:
    """Accept an open invitation of the person's address; None if there is no such invitation.

    Called when the person has set a password by the mailed link. The link names the invitation;
    otherwise an earlier invitation of another tenant could be accepted by mistake.
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
    # A consequence of setting the password, which has a mail of its own.
    record_change("member.joined", membership, actor=person, is_consequence=True)
    return membership


def _is_admin(membership: CusMembership) -> bool:
    return membership.role == _ADMIN and membership.user is not None


def _person(email: str) -> CusUser:
    """The person of the address; if there is none, a new person without a password."""
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
