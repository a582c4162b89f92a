"""The mail that an invitation is."""

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import send_mail
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from integrations.cus_errors import MailUnavailable
from integrations.cus_models import CusMembership, CusUser

_INVITED = """You are invited to AOS Customer Integrations, as {role} of {tenant}.

Choose a password here; that accepts the invitation:

{link}

The link works once, and for {days} days. If you expected no invitation, ignore this mail.
"""
_BELONGS_ELSEWHERE = """You are invited to AOS Customer Integrations, as {role} of {tenant}.

Your address signs in there already, for somebody else, and an address can belong to one side
alone. To accept, ask {tenant} to invite another address of yours. Nobody was told that you have
an account.
"""


def send_invitation(membership: CusMembership, person: CusUser, *, may_join: bool) -> None:
    """Mail the person a link to set a password with, or why they can't join. Raises MailUnavailable."""
    text = _INVITED if may_join else _BELONGS_ELSEWHERE
    body = text.format(
        role=membership.get_role_display().lower(),
        tenant=membership.tenant,
        link=_password_link(person) if may_join else "",
        days=settings.PASSWORD_RESET_TIMEOUT // 86_400,
    )
    subject = f"Invitation to {membership.tenant}"
    try:
        send_mail(subject, body, from_email=None, recipient_list=[person.email])
    except OSError:  # what smtplib raises is one, too
        raise MailUnavailable from None


def _password_link(person: CusUser) -> str:
    uid = urlsafe_base64_encode(force_bytes(person.pk))
    token = default_token_generator.make_token(person)
    return f"{settings.CUS_PUBLIC_URL}{reverse('password_reset_confirm', args=[uid, token])}"
