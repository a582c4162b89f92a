"""The prices that a tenant has agreed with its provider."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from integrations.cus_accounts.models import CusTenant, CusUser


class CusPriceOverride(models.Model):
    """A tenant's own price for a model, from a moment on (ruling M5).

    Appended, never changed: a call of last month is priced by what held last month. `prices`
    has the shape of an entry of the price table, in US dollars per million tokens.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="price_overrides")
    model = models.CharField(max_length=100)
    prices = models.JSONField()
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
        ordering = ["model", "-valid_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "model", "valid_from"],
                name="cus_price_overrides_moment",
                violation_error_message="This model has a price from that moment on already. "
                "Choose another moment: prices are appended, never changed.",
            ),
            models.CheckConstraint(condition=~Q(model=""), name="cus_price_overrides_model"),
        ]

    def __str__(self) -> str:
        return f"{self.model} from {self.valid_from:%Y-%m-%d}"
