"""The workers imported from a legacy system, so that a second import changes nothing."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration


class CusImportedWorker(models.Model):
    """A legacy worker configuration and its integration. Rows are kept for good, so a later run
    does not import a worker again whose integration was deleted.
    """

    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    worker_id = models.CharField(max_length=255)
    integration = models.ForeignKey(CusIntegration, models.PROTECT, related_name="+")
    imported_at = models.DateTimeField(db_default=Now(), editable=False)

    app_privileges: ClassVar[str] = "SELECT, INSERT"

    class Meta:
        db_table = "cus_imported_workers"
        verbose_name = "imported worker"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "worker_id"], name="cus_imported_workers_once"
            ),
        ]

    def __str__(self) -> str:
        return self.worker_id
