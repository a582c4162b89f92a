"""Corrections of what a call cost."""

from typing import ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now


class CusCostAdjustment(models.Model):
    """A correction of one row's cost, because its price was wrong (ruling M9).

    The row stays as recorded; what it costs as corrected is its `cost_microcents` and the
    differences of its adjustments together.
    """

    id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    usage_id = models.UUIDField()
    usage_created_at = models.DateTimeField()
    # The row's first adjustment is 1.
    number = models.PositiveIntegerField()
    old_price_id = models.UUIDField(null=True)
    new_price_id = models.UUIDField()
    old_version = models.CharField(max_length=100, null=True)
    new_version = models.CharField(max_length=100)
    difference_microcents = models.BigIntegerField()
    occurred_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())

    app_privileges: ClassVar[str] = "SELECT, INSERT"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_cost_adjustments"
        verbose_name = "cost correction"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "usage_id", "number"], name="cus_cost_adjustments_number"
            ),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "-created_at"], name="cus_cost_adjustments_tenant"),
            models.Index(fields=["tenant_id", "occurred_at"], name="cus_cost_adjustments_occurred"),
            BrinIndex(fields=["created_at"], name="cus_cost_adjustments_received"),
        ]

    def __str__(self) -> str:
        return f"{self.difference_microcents:+,} microcents"
