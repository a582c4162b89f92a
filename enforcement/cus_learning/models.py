"""What an integration's calls taught; decisions read it, and all of it can be learned anew."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models


class CusLearnedOutput(models.Model):
    """The output of an integration's last calls of a model and operation (ruling F3b).

    `model` is the name that was asked for. `outputs` are the tokens of at most 1,000 calls, the
    newest first. `estimate_tokens` is what a call is held for; null while too few calls are known.
    """

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "model", "operation")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    model = models.CharField(max_length=100)
    operation = models.CharField(max_length=20)
    outputs = ArrayField(models.IntegerField())
    estimate_tokens = models.BigIntegerField(null=True)
    # When `estimate_tokens` got its value, and when the last call came.
    changed_at = models.DateTimeField(null=True)
    last_call_at = models.DateTimeField()

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE, DELETE"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_learned_outputs"
        verbose_name = "learned output"

    def __str__(self) -> str:
        return f"{self.model}, {self.operation}"


class CusAnsweringModel(models.Model):
    """A model that answered to another name within seven days, such as an Azure deployment's."""

    pk = models.CompositePrimaryKey("tenant_id", "integration_id", "name", "model")
    tenant_id = models.UUIDField()
    integration_id = models.UUIDField()
    name = models.CharField(max_length=100)
    model = models.CharField(max_length=100)
    # When it was first seen, and last (to the hour).
    since = models.DateTimeField()
    last_answered_at = models.DateTimeField()

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE, DELETE"
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_answering_models"
        verbose_name = "answering model"

    def __str__(self) -> str:
        return f"{self.model} as {self.name}"


class CusLearningMark(models.Model):
    """How far evidence was learned from: one row."""

    ONLY: ClassVar[int] = 1

    id = models.SmallIntegerField(primary_key=True, default=ONLY)
    learned_until = models.DateTimeField()

    app_privileges: ClassVar[str] = "SELECT, INSERT, UPDATE"

    class Meta:
        db_table = "cus_learning_marks"

    def __str__(self) -> str:
        return str(self.learned_until)
