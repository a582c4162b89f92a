"""The prices that a tenant has agreed with its provider."""

import uuid
from functools import reduce
from itertools import combinations
from operator import and_
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from aos_sdk.cus_wire import MAX_HOST_LENGTH
from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_lifecycle.models import CusIntegration

ONE_LIMIT = (
    "Limit a price to an integration, a provider or a host: to one of these, not to several."
)
REPLACES_LIST = (
    "This price replaces the whole list: kinds that it does not name are billed as plain input or "
    "output, tiers at the plain price, and units are free. To keep the list's prices for what it "
    "does not name, append it again from a later moment."
)


def _one_limit(*limits: str) -> Q:
    """At most one of the columns has a value."""
    pairs = combinations(limits, 2)
    return reduce(
        and_, (Q(**{f"{a}__isnull": True}) | Q(**{f"{b}__isnull": True}) for a, b in pairs)
    )


class CusPriceOverride(models.Model):
    """A tenant's own price for a model, from a moment on (rulings M5 and M5c).

    Appended, never changed: a call of last month is priced by what held last month. `prices` says
    what it changes of the list's price: `prices.checked_prices` tells how. It is limited to an
    integration, a provider or a host, or it is for the whole tenant.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="price_overrides")
    model = models.CharField(max_length=100)
    # Limits are null, not empty, where there are none: the database compares them so.
    integration = models.ForeignKey(
        CusIntegration, models.PROTECT, null=True, blank=True, db_index=False, related_name="+"
    )
    provider = models.CharField(max_length=50, null=True, blank=True)
    host = models.CharField(max_length=MAX_HOST_LENGTH, null=True, blank=True)
    prices = models.JSONField()
    # Prices that were stored before they could change the list's are all that a call is billed
    # by. Prices that an older release still appends mean the same.
    replaces_list = models.BooleanField(default=True, db_default=True, editable=False)
    valid_from = models.DateTimeField()
    note = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.ForeignKey(
        CusUser, models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )

    app_privileges: ClassVar[str] = "SELECT, INSERT"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_price_overrides"
        verbose_name = "price override"
        verbose_name_plural = "prices"
        ordering = ["model", "-valid_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "model", "valid_from", "integration", "provider", "host"],
                name="cus_price_overrides_moment",
                nulls_distinct=False,
                violation_error_message="This model has a price from that moment on already. "
                "Choose another moment: prices are appended, never changed.",
            ),
            models.CheckConstraint(
                condition=_one_limit("integration", "provider", "host"),
                name="cus_price_overrides_scope",
                violation_error_message=ONE_LIMIT,
            ),
            models.CheckConstraint(condition=~Q(model=""), name="cus_price_overrides_model"),
        ]

    def __str__(self) -> str:
        return f"{self.model} from {self.valid_from:%Y-%m-%d}"

    @property
    def scope(self) -> str:
        """Which calls of the model it prices, in words."""
        if self.integration:
            return f"Calls of {self.integration}"
        if self.host:
            return f"Calls to {self.host}"
        return f"Calls of provider {self.provider}" if self.provider else "All calls"

    @property
    def hint(self) -> str | None:
        """What to know of a price that replaces the list; None for one that changes it."""
        return REPLACES_LIST if self.replaces_list else None
