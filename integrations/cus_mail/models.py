"""Mail that waits to be sent, and mail that was sent lately."""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class CusMail(models.Model):
    """One mail to one address: a template and its context.

    The row never holds a link with a token. Tokens are made when the mail is sent, so a copy of
    this table can't reset a password.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    to = models.EmailField(max_length=254)
    person = models.ForeignKey("integrations.CusUser", models.PROTECT, null=True, related_name="+")
    # The tenant whose limit the mail counts against.
    tenant = models.ForeignKey(
        "integrations.CusTenant", models.PROTECT, null=True, related_name="+"
    )
    template = models.CharField(max_length=50)
    context = models.JSONField(default=dict)
    queued_at = models.DateTimeField(db_default=Now())
    next_try_at = models.DateTimeField(db_default=Now())
    tries = models.PositiveSmallIntegerField(db_default=0)
    sent_at = models.DateTimeField(null=True)
    # Set if the mail was not sent within a day and was given up.
    dropped_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "cus_mails"
        verbose_name = "mail"
        indexes = [
            models.Index(
                fields=["next_try_at"],
                condition=Q(sent_at=None, dropped_at=None),
                name="cus_mails_waiting",
            ),
            models.Index(fields=["to", "template", "-queued_at"], name="cus_mails_address"),
            models.Index(fields=["tenant", "-queued_at"], name="cus_mails_tenant"),
        ]

    def __str__(self) -> str:
        return f"{self.template} to {self.to}"
