"""The ladder of enforcement on an integration's page: where it stands, and what the next rung needs."""

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from integrations.cus_accounts.permissions import role_of
from integrations.cus_integrations.rules import LADDER, MIN_COVERAGE_PERCENT, check_level
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import LevelNotReachable

_Level = CusIntegration.EnforcementLevel
# What happens at each rung beyond those below it.
EFFECTS = {
    _Level.VISIBILITY: "Calls run and are recorded. As at every level, an integration that is not "
    "enabled, is in error or has a refused credential admits none.",
    _Level.CONTROL_PLANE: "Limits are set and their use is shown; calls that exceed them run.",
    _Level.WARN: "A call that exceeds a limit runs, and is marked as warned.",
    _Level.THROTTLE: "A call that would exceed a limit is told to wait.",
    _Level.BLOCK: "A call that would exceed a budget or token limit is refused before it reaches "
    "the provider.",
}


def neighbour(integration: CusIntegration, steps: int) -> str | None:
    """The level so many rungs above (or, below zero, below); None beyond the ladder's ends."""
    place = LADDER.index(integration.enforcement_level) + steps
    return LADDER[place] if 0 <= place < len(LADDER) else None


def what_the_next_needs(integration: CusIntegration) -> str | None:
    """What must come before the next rung; None if nothing must, or there is no next."""
    level = neighbour(integration, 1)
    if level is None:
        return None
    try:
        check_level(
            level,
            current=integration.enforcement_level,
            coverage_percent=integration.coverage_percent,
        )
    except LevelNotReachable as refusal:
        return refusal.detail
    return None


def ladder(request: HttpRequest, integration: CusIntegration) -> SafeString:
    """The rungs from the top, the present one marked, and buttons to the neighbours."""
    missing = what_the_next_needs(integration)
    may = role_of(request.user) in ("operator", "admin")
    up, down = neighbour(integration, 1), neighbour(integration, -1)
    page = "admin:integrations_cusintegration"
    context = {
        "rungs": [
            {
                "title": _Level(level).label,
                "effect": EFFECTS[_Level(level)],
                "is_here": level == integration.enforcement_level,
            }
            for level in reversed(LADDER)
        ],
        "next": up and _Level(up).label,
        "missing": missing,
        "coverage": integration.coverage_percent,
        "least_coverage": MIN_COVERAGE_PERCENT,
        "raise_to": up
        and may
        and not missing
        and reverse(f"{page}_raise_level", args=[integration.id]),
        "lower_to": down and may and reverse(f"{page}_lower_level", args=[integration.id]),
        "below": down and _Level(down).label,
    }
    return render_to_string("admin/cus_rungs.html", context)
