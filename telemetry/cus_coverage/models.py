"""Reports of SDKs on bypassed calls (ruling F8), and their sums by hour."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class CusBypassReport(models.Model):
    """One process' counts of governed and bypassed provider calls in one window.

    Evidence: appended, never changed. The first report of a window is kept.
    """

    id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    process_id = models.CharField(max_length=100)
    # By the sender's clock.
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    governed_calls = models.PositiveIntegerField()
    bypassed_calls = models.PositiveIntegerField()
    # Counts of bypassed calls by host.
    hosts = models.JSONField(default=dict)
    sdk = models.CharField(max_length=100)
    # The window's end, or our time of receipt if the sender's clock can't be right (ruling E3).
    occurred_at = models.DateTimeField()
    clock_skew = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    app_privileges: ClassVar[str] = "SELECT, INSERT"

    class Meta:
        db_table = "cus_bypass_reports"
        verbose_name = "bypass report"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "integration_id", "process_id", "window_start"],
                name="cus_bypass_reports_window",
            ),
            models.CheckConstraint(
                condition=Q(governed_calls__gte=0, bypassed_calls__gte=0),
                name="cus_bypass_reports_counts",
            ),
        ]
        indexes = [
            models.Index(
                fields=["tenant_id", "integration_id", "-created_at"],
                name="cus_bypass_reports_newest",
            ),
            models.Index(fields=["-created_at"], name="cus_bypass_reports_received"),
        ]

    def __str__(self) -> str:
        return f"{self.bypassed_calls} of {self.governed_calls + self.bypassed_calls} bypassed"


class CusCallMark(models.Model):
    """The total number of an integration's calls at the start of an hour (ruling F8a).

    The lifetime total minus this is the number of calls stored since then, without counting rows.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "hour")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    hour = models.DateTimeField()
    calls = models.BigIntegerField()

    app_privileges: ClassVar[str] = "SELECT, INSERT, DELETE"

    class Meta:
        db_table = "cus_call_marks"

    def __str__(self) -> str:
        return f"{self.calls:,} calls by {self.hour:%Y-%m-%d %H}:00"


class CusBypassHour(models.Model):
    """The sums of an integration's reports by hour, updated in the transaction of each report.

    A week of reports may be a million rows; a week of hours is 169 rows.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "hour")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    # The start of the hour in which the windows ended.
    hour = models.DateTimeField()
    governed_calls = models.BigIntegerField()
    bypassed_calls = models.BigIntegerField()

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"

    class Meta:
        db_table = "cus_bypass_hours"

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}:00 of {self.integration_id}"
