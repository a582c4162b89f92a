"""Quotas: how many objects of each kind may exist (ruling C11). Existing objects stay usable.

0 means unlimited, as with every limit of this product.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from integrations.cus_web.errors import QuotaExceeded

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Quota:
    """A bound: its setting, the things it counts, and their owner."""

    setting: str
    things: str
    of: str
    what_to_do: str

    @property
    def most(self) -> int:
        """The bound as an operator has set it; 0 means unlimited."""
        return int(getattr(settings, self.setting))

    def require_room(self, there: "QuerySet[Any]") -> None:
        """Raise QuotaExceeded unless another object may be made beside the existing objects.

        The caller must hold a lock of the tenant, the integration or the person: otherwise two
        callers at once could both find the last place.
        """
        if self.most and there.count() >= self.most:
            raise QuotaExceeded(
                f"{self.of} may have {self.most:,} {self.things}, and has as many. "
                f"{self.what_to_do}, or ask an operator to raise {self.setting}."
            )


INTEGRATIONS = Quota(
    "CUS_QUOTA_INTEGRATIONS", "integrations", "This tenant", "Delete an unused integration"
)
INTEGRATIONS_A_DAY = Quota(
    "CUS_QUOTA_INTEGRATIONS", "integrations made within a day", "This tenant", "Wait"
)
OVERRIDES = Quota(
    "CUS_QUOTA_PRICE_OVERRIDES", "prices of its own", "This tenant", "Use the existing prices"
)
DISPLAY_RATES = Quota(
    "CUS_QUOTA_DISPLAY_RATES", "display rates", "This tenant", "Use those that are there"
)
PEOPLE = Quota("CUS_QUOTA_MEMBERS", "people", "This tenant", "Remove one")
INVITATIONS = Quota(
    "CUS_QUOTA_INVITATIONS", "open invitations", "This tenant", "Withdraw one, or wait"
)
STOPS = Quota("CUS_QUOTA_STOPS", "stops in force", "This integration", "Lift one")
SCOPED_LIMITS = Quota(
    "CUS_QUOTA_SCOPED_LIMITS", "limits at scopes", "An integration or tenant", "Delete one"
)
# Idle ones make room for new ones, so it is nearly always kept without a refusal.
RUN_LIMITS = Quota(
    "CUS_QUOTA_RUN_LIMITS", "budgets in code", "This integration", "Name fewer sessions"
)
INCREASE_REQUESTS = Quota(
    "CUS_QUOTA_INCREASE_REQUESTS", "open requests for increases", "This tenant", "Have one decided"
)
NOTIFICATION_TARGETS = Quota(
    "CUS_QUOTA_NOTIFICATION_TARGETS",
    "notification targets, with those that it removed within a day",
    "This tenant",
    "Remove one, or wait",
)
KEYS_A_DAY = Quota(
    "CUS_QUOTA_SDK_KEYS_A_DAY", "SDK keys made within a day", "This integration", "Wait"
)
SIMULATIONS_A_DAY = Quota(
    "CUS_QUOTA_SIMULATIONS_A_DAY", "simulations asked for within a day", "This tenant", "Wait"
)
TOKENS_A_DAY = Quota("CUS_QUOTA_TOKENS_A_DAY", "API tokens made within a day", "A person", "Wait")


def made_within_a_day(rows: "QuerySet[Any]", column: str, now: datetime) -> "QuerySet[Any]":
    """The rows that were made within the last day, including ended ones."""
    return rows.filter(**{f"{column}__gt": now - _DAY})
