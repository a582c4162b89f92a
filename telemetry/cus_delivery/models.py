"""What is known of the processes that report: which of their sequences came, and which should."""

from typing import Any

from django.db import models
from django.db.models.functions import Now


class RangesField(models.Field):  # type: ignore[type-arg]  # it takes none at run time
    """Sets of whole numbers as PostgreSQL keeps them: `{[1,51),[60,61)}`, merged as they grow."""

    def db_type(self, connection: Any) -> str:
        """The column's type."""
        return "int8multirange"


class CusReportingProcess(models.Model):
    """A program's process, by the name that its records carry, and what it said of itself.

    `came` is every sequence that we have answered for, as far as it was folded in: rows received
    since then are evidence alone, and whoever asks adds them. `dropped` counts by reason, since
    the process began, what it had to give up. Rebuilt from evidence but for what it announced.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "process_id")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    process_id = models.CharField(max_length=100)
    first_seen_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    last_sequence = models.BigIntegerField(db_default=0)
    dropped = models.JSONField(default=dict)
    came = RangesField()

    class Meta:
        db_table = "cus_reporting_processes"
        verbose_name = "reporting process"
        verbose_name_plural = "reporting processes"
        indexes = [
            models.Index(fields=["tenant_id", "-last_seen_at"], name="cus_processes_seen"),
            models.Index(fields=["last_seen_at"], name="cus_processes_age"),
        ]

    def __str__(self) -> str:
        return self.process_id


class CusSequenceFold(models.Model):
    """How far evidence is folded into `came`. One row."""

    id = models.SmallIntegerField(primary_key=True)
    covered_to = models.DateTimeField()

    class Meta:
        db_table = "cus_sequence_folds"
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="cus_sequence_folds_one_row"),
        ]

    def __str__(self) -> str:
        return f"up to {self.covered_to:%Y-%m-%d %H:%M}"
