"""The mail of an invitation."""

from integrations.cus_accounts.models import CusMembership, CusUser
from integrations.cus_mail.service import INVITATION, queue_mail


def mail_invitation(membership: CusMembership, person: CusUser, *, may_join: bool) -> None:
    """Queue a mail with a link to set a password, or with the reason why the person can't join.

    Raises MailLimitReached.
    """
    queue_mail(
        to=person.email,
        template=INVITATION if may_join else "invitation_elsewhere",
        context={
            "role": membership.get_role_display().lower(),
            "invitation": str(membership.pk),
        },
        person=person,
        tenant=membership.tenant,
        is_required=True,
    )
