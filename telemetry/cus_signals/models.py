"""Which models of an integration have series of their own."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class CusModelSeries(models.Model):
    """A model of an integration that has series of its own.

    Programs name their models, so there may be any number. An integration's first models get
    series of their own, and keep them; all others share the series `other`. So a model never moves
    from one series to another, which would make a counter fall.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "provider", "model")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    provider = models.CharField(max_length=50)
    model = models.CharField(max_length=100)
    created_at = models.DateTimeField(db_default=Now())

    app_privileges: ClassVar[str] = "SELECT, INSERT"

    class Meta:
        db_table = "cus_model_series"

    def __str__(self) -> str:
        return f"{self.model} of {self.integration_id}"
