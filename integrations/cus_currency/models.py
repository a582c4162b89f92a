"""The rates at which a tenant's people see amounts in their own currency."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from integrations.cus_accounts.models import CusTenant, CusUser


class CusDisplayRate(models.Model):
    """What one US dollar is worth in a tenant's currency, from a moment on.

    For people's eyes alone: prices, costs, limits and evidence are in US dollars. Appended, never
    changed. The latest rate that holds says the currency, too; one of US dollars ends it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3)
    rate = models.DecimalField(max_digits=14, decimal_places=8)
    valid_from = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.ForeignKey(
        CusUser, models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )

    app_privileges: ClassVar[str] = "SELECT, INSERT"

    class Meta:
        db_table = "cus_display_rates"
        verbose_name = "display rate"
        ordering = ["-valid_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "valid_from"],
                name="cus_display_rates_moment",
                violation_error_message="There is a rate from that moment on already. "
                "Choose another moment: rates are appended, never changed.",
            ),
            models.CheckConstraint(
                condition=Q(currency__regex=r"^[A-Z]{3}$"), name="cus_display_rates_currency"
            ),
            models.CheckConstraint(condition=Q(rate__gt=0), name="cus_display_rates_rate"),
        ]

    def __str__(self) -> str:
        return f"{self.rate.normalize():f} {self.currency} from {self.valid_from:%Y-%m-%d}"
