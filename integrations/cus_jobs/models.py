"""What is known of each job's runs."""

from typing import ClassVar

from django.db import models


class CusJobTotals(models.Model):
    """The runs of a job by all workers, since the first one.

    In the database, so that every process tells the same, and a worker needs no port of its own.
    """

    name = models.CharField(primary_key=True, max_length=100)
    succeeded = models.BigIntegerField(db_default=0)
    failed = models.BigIntegerField(db_default=0)
    seconds = models.FloatField(db_default=0.0)
    last_seconds = models.FloatField(db_default=0.0)
    last_succeeded_at = models.DateTimeField(null=True)
    last_failed_at = models.DateTimeField(null=True)

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"

    class Meta:
        db_table = "cus_job_totals"

    def __str__(self) -> str:
        return self.name
