"""The reporting processes: their sequences that arrived, and the highest that they announced."""

from typing import Any

from django.db import models
from django.db.models.functions import Now


class RangesField(models.Field):  # type: ignore[type-arg]  # it takes none at run time
    """PostgreSQL's `int8multirange`, a set of whole numbers: `{[1,51),[60,61)}`."""

    def db_type(self, connection: Any) -> str:
        """The column's type."""
        return "int8multirange"


class CusReportingProcess(models.Model):
    """A program's process, by the process id of its records, and its announcements.

    `came` holds every answered sequence up to the last fold. Rows received since then are in
    evidence alone, and readers add them. `dropped` counts, by reason, the records that the process
    dropped since it began. All but the announcements can be rebuilt from evidence.
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
    """The moment up to which evidence is folded into `came`. The table has one row."""

    id = models.SmallIntegerField(primary_key=True)
    covered_to = models.DateTimeField()

    class Meta:
        db_table = "cus_sequence_folds"
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="cus_sequence_folds_one_row"),
        ]

    def __str__(self) -> str:
        return f"up to {self.covered_to:%Y-%m-%d %H:%M}"
