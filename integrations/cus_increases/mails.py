"""The mails about requests for increases."""

from typing import Final

from django.urls import reverse

from integrations.cus_accounts.models import CusMembership, CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_increases.models import CusIncreaseRequest
from integrations.cus_limits.words import amount_text
from integrations.cus_mail.service import queue_mail

ASKED: Final = "increase_asked"
DECIDED: Final = "increase_decided"


def tell_admins(request: CusIncreaseRequest) -> None:
    """Queue a mail to each of the tenant's admins but the person who asked."""
    admins = CusMembership.objects.filter(
        tenant_id=request.tenant_id, role=CusMembership.Role.ADMIN, user__is_active=True
    ).select_related("user")
    people = [one.user for one in admins if one.user and one.user_id != request.created_by_id]
    # In this order, so that two transactions can't deadlock: counting an address's mails locks it.
    for person in sorted(people, key=lambda person: person.email.lower()):
        queue_mail(
            to=person.email,
            template=ASKED,
            context=_context(request),
            person=person,
            tenant=request.tenant,
        )


def tell_asker(request: CusIncreaseRequest, *, by: str) -> None:
    """Queue a mail to the person who asked, if they may still read the request."""
    person = request.created_by
    if person is None or not _may_read(person, request):
        return
    queue_mail(
        to=person.email,
        template=DECIDED,
        context=_context(request)
        | {
            "by": by,
            "is_approved": request.state == CusIncreaseRequest.State.APPROVED,
            "answer": request.answer,
        },
        person=person,
        tenant=request.tenant,
    )


def _may_read(person: CusUser, request: CusIncreaseRequest) -> bool:
    # Who has left the tenant is told no more of it, though they may belong to another by now.
    return visible_to(CusIncreaseRequest.objects.filter(id=request.id), person).exists()


def _context(request: CusIncreaseRequest) -> dict[str, str | bool]:
    return {
        "what": str(request),
        "present": amount_text(request.unit, request.present_amount),
        "integration": request.integration.name,
        "reason": request.reason,
        "asked_by": request.asked_by,
        "path": reverse("admin:integrations_cusincreaserequest_change", args=[request.id]),
    }
