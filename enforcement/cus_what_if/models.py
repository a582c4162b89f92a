"""Simulations: what somebody asked, how far it is, and what came out."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class CusSimulation(models.Model):
    """Proposed limits, replayed over an integration's evidence of past days.

    No evidence: a simulation is forgotten after a month, and can be repeated.
    """

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    asked_by = models.UUIDField(null=True)
    # The calls that were decided from `since` on, by evidence that came before `until`.
    days = models.PositiveSmallIntegerField()
    since = models.DateTimeField()
    until = models.DateTimeField()
    # The proposed limits with the level and the basis, all columns that decisions read.
    proposal = models.JSONField()
    status = models.CharField(max_length=10, choices=Status, db_default=Status.WAITING)
    # How many rows of evidence there are, and how many have been replayed.
    rows = models.PositiveBigIntegerField(db_default=0)
    rows_done = models.PositiveBigIntegerField(db_default=0)
    result = models.JSONField(null=True)
    error = models.TextField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    # The last sign of life: a job that shows none for a while has failed.
    updated_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE, DELETE"

    class Meta:
        db_table = "cus_simulations"
        verbose_name = "simulation"
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["waiting", "running", "done", "failed"]),
                name="cus_simulations_status_known",
            ),
            models.CheckConstraint(condition=Q(days__range=(1, 90)), name="cus_simulations_days"),
            # One at a time for an integration, so that nobody fills the queue.
            models.UniqueConstraint(
                fields=["tenant_id", "integration_id"],
                condition=Q(status__in=["waiting", "running"]),
                name="cus_simulations_one_at_a_time",
            ),
        ]
        indexes = [
            models.Index(
                fields=["tenant_id", "integration_id", "-created_at"], name="cus_simulations_latest"
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_over(self) -> bool:
        """Whether there is a result, or an error."""
        return self.status in (self.Status.DONE, self.Status.FAILED)

    @property
    def progress_percent(self) -> int:
        """How much of the evidence has been replayed."""
        if self.status == self.Status.DONE:
            return 100
        return min(self.rows_done * 100 // max(self.rows, 1), 99)
