"""The page of mails of a product on one machine, for operators: such a product has no mail server."""

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_safe

from integrations.cus_console.own_page import Layout, Link, shown
from integrations.cus_console.panels import ShownPanel
from integrations.cus_mail.local_box import MOST_KEPT, LocalMail, local_mails


@require_safe
def mails(request: HttpRequest) -> HttpResponse:
    """The mails that were written, newest first, with links that can be followed."""
    panels = [_panel(number, mail) for number, mail in enumerate(local_mails(), start=1)]
    lead = f"This product has no mail server, so its mails stay here: the last {MOST_KEPT}."
    if not panels:
        lead = "No mail was written yet. Invite a member, or ask for a new password, and look here."
    trail = [Link("System", f"{reverse('cus-system')}#mail")]
    return shown(request, Layout(title="Mails", lead=lead, trail=trail, panels=panels))


def _panel(number: int, mail: LocalMail) -> ShownPanel:
    moment = f"{mail.sent_at:%Y-%m-%d %H:%M:%S} UTC" if mail.sent_at else ""
    context = {"mail": mail, "moment": moment}
    html = render_to_string("admin/cus_local_mail.html", context)
    return ShownPanel(f"mail-{number}", mail.subject, html)
