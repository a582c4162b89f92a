"""Requests for increases: who asked for how much until when, and who decided what."""

import uuid
from datetime import datetime
from typing import ClassVar, Final

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_lifecycle.limits import LIMITS
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import MOST, CusScopedLimit
from integrations.cus_limits.words import amount_text, moment_text, whose_text, window_text

# The integration's own limits, by their names in its API.
OWN_LIMITS: Final = tuple((limit.column, limit.label) for limit in LIMITS)


class CusIncreaseRequest(models.Model):
    """A request that a limit be higher until a moment.

    What is asked for is a limit of scope, name, unit and window; an approved request becomes that
    limit, which ends by itself. A request that nobody decides lapses at that moment, and until it is
    decided the person who asked may withdraw it. Requests stay, as the history of who asked and who
    decided.
    """

    class State(models.TextChoices):
        """Whether it is decided."""

        OPEN = "open", "Open"
        APPROVED = "approved", "Approved"
        REFUSED = "refused", "Refused"
        WITHDRAWN = "withdrawn", "Withdrawn"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    # At which integration the limit is asked for; a limit of the tenant over all of them is at any.
    integration = models.ForeignKey(CusIntegration, models.PROTECT, related_name="+")
    # The limit to be raised: one at a scope, or one of the integration's own.
    limit = models.ForeignKey(
        CusScopedLimit, models.PROTECT, null=True, blank=True, related_name="+"
    )
    own_limit = models.CharField(
        "limit of the integration", max_length=30, choices=OWN_LIMITS, blank=True, default=""
    )
    # What the increase counts, as of `CusScopedLimit`. A value narrows a limit of each value.
    scope = models.CharField(max_length=20, choices=CusScopedLimit.Scope, editable=False)
    tag = models.CharField(max_length=64, blank=True, default="", editable=False)
    value = models.CharField("its name", max_length=100, null=True, blank=True)
    unit = models.CharField(max_length=10, choices=CusScopedLimit.Unit, editable=False)
    window = models.CharField(max_length=10, choices=CusScopedLimit.Window, editable=False)
    # The amount when it was asked, and the amount that shall hold instead.
    present_amount = models.BigIntegerField(editable=False)
    amount = models.BigIntegerField(validators=[MinValueValidator(1), MaxValueValidator(MOST)])
    valid_until = models.DateTimeField("until")
    reason = models.CharField("why", max_length=500)
    state = models.CharField(
        max_length=10, choices=State, default=State.OPEN, db_default=State.OPEN, editable=False
    )
    # The address of the person at that time.
    asked_by = models.CharField(max_length=255, editable=False)
    created_at = models.DateTimeField("asked at", db_default=Now(), editable=False)
    created_by = models.ForeignKey(
        CusUser, models.PROTECT, null=True, editable=False, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True, editable=False)
    decided_by = models.ForeignKey(
        CusUser, models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )
    # Why it was refused.
    answer = models.CharField(max_length=500, blank=True, default="", editable=False)
    # The limit that an approved request became.
    made_limit = models.ForeignKey(
        CusScopedLimit, models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )

    app_privileges: ClassVar[str] = (
        "SELECT, INSERT, UPDATE (state, decided_at, decided_by_id, answer, made_limit_id)"
    )

    class Meta:
        db_table = "cus_increase_requests"
        verbose_name = "increase request"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="cus_increase_requests_tenant"),
            models.Index(
                fields=["tenant", "valid_until"],
                condition=Q(state="open"),
                name="cus_increase_requests_open",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["open", "approved", "refused", "withdrawn"]),
                name="cus_increase_requests_state_known",
            ),
            models.CheckConstraint(
                condition=Q(limit__isnull=False, own_limit="")
                | (Q(limit__isnull=True) & ~Q(own_limit="")),
                name="cus_increase_requests_of_a_limit",
            ),
            models.CheckConstraint(
                condition=Q(amount__gt=models.F("present_amount")),
                name="cus_increase_requests_raises",
            ),
            models.CheckConstraint(
                condition=Q(state="open", decided_at__isnull=True)
                | (~Q(state="open") & Q(decided_at__isnull=False)),
                name="cus_increase_requests_decided",
            ),
        ]

    def __str__(self) -> str:
        raised = amount_text(self.unit, self.amount)
        return f"{raised} {window_text(self.window)} for {self.whose} until {self.until}"

    @property
    def whose(self) -> str:
        """The calls that the increase is for, in words."""
        return whose_text(self.scope, self.tag, self.value)

    @property
    def until(self) -> str:
        """When it ends, in words."""
        return moment_text(self.valid_until)

    def has_lapsed(self, now: datetime) -> bool:
        """Whether its time passed before anybody decided."""
        return self.state == self.State.OPEN and self.valid_until <= now
