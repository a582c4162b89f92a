"""Limits at scopes and windows of their own, each a row of data."""

import uuid
from typing import ClassVar, Final

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.words import limit_text

MOST: Final = 2**63 - 1


class CusScopedLimit(models.Model):
    """A limit of the calls that a scope counts together, in a unit, over a window.

    An integration's own limits (§3.1) are its columns; these come beside them. What a limit counts
    never changes: another scope, unit or window is another limit, because what was used of a limit
    is kept by its id. A limit that was deleted stays as a row, because decisions name it.
    """

    class Scope(models.TextChoices):
        """The calls that the limit counts together: `aos_sdk.cus_limit_scopes.CusLimitScope`."""

        TENANT = "tenant", "All integrations of the tenant"
        INTEGRATION = "integration", "The integration"
        MODEL = "model", "A model"
        AGENT = "agent_id", "An agent"
        SESSION = "session_id", "A session"
        END_USER = "end_user", "An end user"
        TAG = "tag", "A tag"

    class Unit(models.TextChoices):
        """What the limit counts."""

        CENTS = "cents", "Cents"
        TOKENS = "tokens", "Tokens"
        CALLS = "calls", "Calls"

    class Window(models.TextChoices):
        """The time over which the limit counts, in UTC."""

        MINUTE = "minute", "The last 60 seconds"
        DAY = "day", "A day"
        WEEK = "week", "A week, from Monday"
        MONTH = "month", "A month"
        LIFE = "life", "All time"

    class Result(models.TextChoices):
        """What happens to a call that does not fit."""

        BLOCKED = "blocked", "Block"
        THROTTLED = "throttled", "Throttle"

    class Basis(models.TextChoices):
        """What cents are compared: each call's cents rounded up, or exact microcents (M3)."""

        ROUNDED = "rounded", "Rounded"
        EXACT = "exact", "Exact"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(CusTenant, models.PROTECT, related_name="+")
    # Null for a limit over all integrations of the tenant.
    integration = models.ForeignKey(
        CusIntegration, models.PROTECT, related_name="+", null=True, blank=True
    )
    scope = models.CharField(max_length=20, choices=Scope)
    # The key of a tag, for that scope alone.
    tag = models.CharField("tag's key", max_length=64, blank=True, default="")
    # As calls name it; of an end user the pseudonym, where names must not be stored. Null is the
    # default of each value; `""` the only value of the scopes of all calls.
    value = models.CharField("its name", max_length=100, null=True, blank=True)
    unit = models.CharField(max_length=10, choices=Unit)
    window = models.CharField(max_length=10, choices=Window)
    amount = models.BigIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(MOST)],
    )
    basis = models.CharField(max_length=10, choices=Basis, default=Basis.ROUNDED)
    result = models.CharField(max_length=10, choices=Result)
    # Calls are warned from this share of the amount on.
    warning_percent = models.PositiveSmallIntegerField(
        default=80, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    enabled = models.BooleanField(default=True)
    valid_from = models.DateTimeField(db_default=Now())
    # Null for a permanent limit. A temporary limit stands in for a permanent limit of the same kind.
    valid_until = models.DateTimeField(null=True, blank=True)
    # When the limit begins or ends next; null where nothing of that is ahead. A job raises the
    # integrations' versions then (`cus_limits.moments`).
    next_change_at = models.DateTimeField(null=True, blank=True, editable=False)
    reason = models.CharField("why", max_length=500, blank=True, default="")
    # Rises with each change: the limit's ETag.
    version = models.PositiveBigIntegerField(db_default=1, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.ForeignKey(
        CusUser, models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    app_privileges: ClassVar[str] = (
        "SELECT, INSERT, UPDATE (amount, basis, result, warning_percent, enabled, valid_from,"
        " valid_until, next_change_at, reason, version, updated_at, deleted_at)"
    )
    decider_privileges: ClassVar[str] = "SELECT"

    class Meta:
        db_table = "cus_scoped_limits"
        verbose_name = "limit"
        ordering = ["created_at", "id"]
        indexes = [
            # By this, checks and ingest find the limits of an integration.
            models.Index(
                fields=["tenant", "integration"],
                condition=Q(deleted_at__isnull=True),
                name="cus_scoped_limits_of",
            ),
            models.Index(
                fields=["next_change_at"],
                condition=Q(next_change_at__isnull=False),
                name="cus_scoped_limits_next_change",
            ),
        ]
        constraints = [
            # One permanent limit of a kind; any number of temporary ones stand in for it.
            models.UniqueConstraint(
                fields=["tenant", "integration", "scope", "tag", "value", "unit", "window"],
                condition=Q(deleted_at__isnull=True, valid_until__isnull=True),
                nulls_distinct=False,
                name="cus_scoped_limits_one_of_a_kind",
            ),
            models.CheckConstraint(
                condition=Q(
                    scope__in=[
                        "tenant",
                        "integration",
                        "model",
                        "agent_id",
                        "session_id",
                        "end_user",
                        "tag",
                    ]
                ),
                name="cus_scoped_limits_scope_known",
            ),
            models.CheckConstraint(
                condition=Q(unit__in=["cents", "tokens", "calls"])
                & Q(window__in=["minute", "day", "week", "month", "life"])
                & Q(result__in=["blocked", "throttled"])
                & Q(basis__in=["rounded", "exact"]),
                name="cus_scoped_limits_words_known",
            ),
            models.CheckConstraint(
                condition=Q(scope="tenant", integration__isnull=True)
                | (~Q(scope="tenant") & Q(integration__isnull=False)),
                name="cus_scoped_limits_of_whom",
            ),
            models.CheckConstraint(
                condition=(Q(scope="tag") & ~Q(tag="")) | (~Q(scope="tag") & Q(tag="")),
                name="cus_scoped_limits_tag_has_key",
            ),
            # A scope of all calls has one value; any other scope has named values, or each.
            models.CheckConstraint(
                condition=Q(scope__in=["tenant", "integration"], value="", value__isnull=False)
                | (
                    ~Q(scope__in=["tenant", "integration"]) & (Q(value__isnull=True) | ~Q(value=""))
                ),
                name="cus_scoped_limits_named",
            ),
            models.CheckConstraint(
                condition=Q(amount__gte=1, warning_percent__gte=1, warning_percent__lte=100),
                name="cus_scoped_limits_amounts",
            ),
            models.CheckConstraint(
                condition=Q(valid_until__isnull=True) | Q(valid_until__gt=models.F("valid_from")),
                name="cus_scoped_limits_ends_after_start",
            ),
        ]

    def __str__(self) -> str:
        return limit_text(self)
