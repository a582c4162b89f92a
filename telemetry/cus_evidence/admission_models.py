"""What was admitted, by second and by day: what limits of tokens a minute and calls a day count."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q


def _sum() -> "models.DecimalField[Any, Any]":
    # Wider than the columns that are summed, so that many of the largest can't overflow the sum.
    return models.DecimalField(max_digits=40, decimal_places=0, db_default=0)


class CusAdmissions(models.Model):
    """Calls and tokens by when they were admitted (ruling F4a), in buckets of a second and of a day.

    Split into shards like the totals. A bucket that no limit counts any more is swept.
    """

    SHARDS: ClassVar[int] = 8

    class Span(models.TextChoices):
        """How long a bucket is. A day is a day of UTC."""

        SECOND = "second"
        DAY = "day"

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "span", "start", "shard")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    span = models.CharField(max_length=6, choices=Span)
    start = models.DateTimeField()
    shard = models.SmallIntegerField()
    calls = _sum()
    tokens = _sum()

    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.calls} of {self.integration_id} in the {self.span} {self.start}"


class CusLandedAdmissions(CusAdmissions):
    """Of stored calls, with what they used; kept by the statement that stores them."""

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE (calls, tokens), DELETE"

    class Meta:
        db_table = "cus_landed_admissions"
        constraints = [
            models.CheckConstraint(
                condition=Q(calls__gte=0, tokens__gte=0), name="cus_landed_admissions_sums"
            )
        ]


class CusRunningAdmissions(CusAdmissions):
    """Of holds and leases, with their amounts; kept by triggers of both tables, which alone write.

    A single shard may be negative.
    """

    app_privileges: ClassVar[str] = "SELECT, DELETE"

    class Meta:
        db_table = "cus_running_admissions"
