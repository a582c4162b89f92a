"""Prices as they were when a call was priced by them."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class PriceSource(models.TextChoices):
    """Where the price of a call is from, or why a call has none."""

    TABLE = "table", "Price table"
    OVERRIDE = "override", "Tenant's own price"
    GENAI_PRICES = "genai_prices", "genai-prices"
    PROVIDER = "provider", "Cost as the provider's answer says"
    UNKNOWN = "unknown", "No price known"
    # The call's usage is unknown, which is not zero (ruling M5b).
    UNMEASURED = "unmeasured", "Usage not known"


class CusKeptPrice(models.Model):
    """A price as it was when it priced something, kept for ever (ruling M6).

    Addressed by its content: the id is 128 bits of the SHA-256 of the other columns, so that
    the same price is kept once and no kept price can come to mean something else.
    """

    id = models.UUIDField(primary_key=True)
    source = models.CharField(max_length=20, choices=PriceSource)
    model = models.CharField(max_length=100)
    version = models.CharField(max_length=100)
    data = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    app_privileges: ClassVar[str] = "SELECT, INSERT"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_kept_prices"
        verbose_name = "kept price"
        indexes = [models.Index(fields=["model", "version"], name="cus_kept_prices_version")]

    def __str__(self) -> str:
        return f"{self.model} ({self.source} {self.version})"
