"""Panels on health: its history as a strip."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.formats import localize
from django.utils.safestring import SafeString

from integrations.cus_health.models import CusHealthTransition
from integrations.cus_lifecycle.models import CusIntegration

_DAYS = 30
_PERMILLE = 1_000
# More changes than a strip can show.
_MOST = 500
_LISTED = 10


@dataclass(frozen=True)
class Stretch:
    """A time of one health, as parts of a thousand of the strip."""

    health: str
    start_permille: int
    permille: int
    text: str


def health_timeline(_request: HttpRequest, integration: CusIntegration) -> SafeString:
    """The health of an integration over the last days, and its last changes."""
    end = timezone.now()
    start = end - timedelta(days=_DAYS)
    rows = CusHealthTransition.objects.filter(integration=integration)
    changes = list(rows.filter(checked_at__gte=start).order_by("-checked_at")[:_MOST])[::-1]
    before = rows.filter(checked_at__lt=start).order_by("-checked_at").first()
    context = {
        "stretches": _stretches(integration, before, changes, start, end),
        "changes": changes[::-1][:_LISTED],
        "days": _DAYS,
    }
    return render_to_string("admin/cus_health_timeline.html", context)


def _stretches(
    integration: CusIntegration,
    before: CusHealthTransition | None,
    changes: list[CusHealthTransition],
    start: Any,
    end: Any,
) -> list[Stretch]:
    first = before.health_to if before else changes[0].health_from if changes else None
    points = [
        (start, first or integration.health_state),
        *((change.checked_at, change.health_to) for change in changes),
    ]
    ends = [moment for moment, _ in points[1:]] + [end]
    found = []
    for (moment, health), until in zip(points, ends, strict=True):
        if until <= moment:
            continue
        place = int((moment - start) * _PERMILLE / (end - start))
        length = max(int((until - moment) * _PERMILLE / (end - start)), 1)
        text = f"{health} from {localize(moment)} to {localize(until)}"
        found.append(Stretch(str(health), place, length, text))
    return found
