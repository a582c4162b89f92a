"""Sealed statements of months, and the totals of providers' invoices."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class CusMonthStatement(models.Model):
    """A tenant's month, closed: its figures as they were then, and their seal.

    A statement is of what was received in the month (UTC): records, settlements and corrections.
    So nothing that comes later changes it; later amounts are in the statement of their own month.
    Appended, never changed.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant_id = models.UUIDField()
    # The first day of the month, in UTC.
    month = models.DateField()
    # The version of the sealed form.
    version = models.PositiveSmallIntegerField()
    totals = models.JSONField()
    # Figures by integration, provider, model and agent.
    groups = models.JSONField()
    # Null: the system closed the month.
    closed_by = models.UUIDField(null=True)
    closed_at = models.DateTimeField()
    # The keyed SHA-256 of all of the above, in hexadecimal digits.
    digest = models.CharField(max_length=64)

    app_privileges: ClassVar[str] = "SELECT, INSERT"

    class Meta:
        db_table = "cus_month_statements"
        verbose_name = "month statement"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "month"], name="cus_month_statements_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class CusProviderInvoice(models.Model):
    """The total of a provider's invoice for an integration's month, as a person entered it.

    Appended, never changed: the latest entry holds.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    # The first day of the month, in UTC.
    month = models.DateField()
    # Of US dollars.
    total_cents = models.BigIntegerField()
    note = models.CharField(max_length=500, blank=True)
    entered_by = models.UUIDField(null=True)
    entered_at = models.DateTimeField(db_default=Now())

    app_privileges: ClassVar[str] = "SELECT, INSERT"

    class Meta:
        db_table = "cus_provider_invoices"
        verbose_name = "provider invoice"
        constraints = [
            models.CheckConstraint(
                condition=Q(total_cents__gte=0), name="cus_provider_invoices_total"
            ),
        ]
        indexes = [
            models.Index(
                fields=["tenant_id", "month", "integration_id", "-entered_at"],
                name="cus_provider_invoices_latest",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} of {self.integration_id}"
