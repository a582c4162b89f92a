"""The panel on requests that wait for a decision."""

from typing import cast

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.panels import table
from integrations.cus_increases.models import CusIncreaseRequest

_MOST_SHOWN = 5


def open_requests(request: HttpRequest, _subject: None) -> SafeString | None:
    """The requests that the person may decide, the oldest first; nothing if none waits."""
    waiting = CusIncreaseRequest.objects.filter(
        state=CusIncreaseRequest.State.OPEN, valid_until__gt=timezone.now()
    ).exclude(created_by_id=request.user.pk)
    seen = visible_to(waiting, cast("CusUser", request.user)).select_related("integration")
    rows = list(seen.order_by("created_at", "id")[: _MOST_SHOWN + 1])
    if not rows:
        return None
    return table(
        ["Wanted", "Integration", "Who asks", "Why"],
        [
            [_link(row), row.integration.name, row.asked_by, row.reason]
            for row in rows[:_MOST_SHOWN]
        ],
        empty="",
        note="There are more." if len(rows) > _MOST_SHOWN else "",
    )


def _link(row: CusIncreaseRequest) -> SafeString:
    address = reverse("admin:integrations_cusincreaserequest_change", args=[row.id])
    return format_html('<a href="{}" class="underline">{}</a>', address, str(row))
