"""An integration's limits and their use, over HTTP."""

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_accounts.api import PersonView
from integrations.cus_lifecycle.api import found_integration
from integrations.cus_lifecycle.limits import LIMITS, Limit, Unit
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import database_now
from telemetry.cus_holds.limits import has_share, limits_of


class LimitShare(serializers.Serializer[object]):
    """One limit. If unlimited, `limit`, `remaining` and `percent` are null."""

    limit = serializers.IntegerField(allow_null=True)
    used = serializers.IntegerField()
    held = serializers.IntegerField(
        help_text="Held for admitted calls that are not reported yet, or lent to programs."
    )
    remaining = serializers.IntegerField(allow_null=True)
    percent = serializers.FloatField(
        allow_null=True, help_text="Used and held, in percent of the limit."
    )


def _field_of(limit: Limit) -> "serializers.Field[Any, Any, Any, Any]":
    if not has_share(limit):
        return serializers.IntegerField(allow_null=True)
    if limit.unit is Unit.CENTS:
        return LimitShare(help_text="In microcents, on the integration's budget_basis.")
    return LimitShare()


class DisplayOutput(serializers.Serializer[object]):
    """Amounts in the tenant's display currency, for people's eyes: all else is in US dollars."""

    currency = serializers.CharField()
    rate = serializers.DecimalField(
        max_digits=14, decimal_places=8, help_text="What one US dollar is worth."
    )
    valid_from = serializers.DateTimeField()
    cost = serializers.CharField(help_text="The cost as reported, each call rounded up.")
    counted = serializers.CharField(help_text="What a rounded budget counts.")
    exact = serializers.CharField(help_text="The exact cost, with corrections.")
    budget_limit = serializers.CharField(allow_null=True)
    budget_used = serializers.CharField()
    budget_held = serializers.CharField()
    budget_remaining = serializers.CharField(allow_null=True)


class LimitsOutput(serializers.Serializer[object]):
    """The month so far, by when calls were received (UTC). Cents are of US dollars."""

    integration_id = serializers.UUIDField()
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()
    budget_basis = serializers.ChoiceField(CusIntegration.BudgetBasis.choices)
    calls = serializers.IntegerField(help_text="Calls that ran.")
    blocked_calls = serializers.IntegerField()
    tokens = serializers.IntegerField()
    cost_cents = serializers.IntegerField(help_text="As reported, each call rounded up.")
    counted_cents = serializers.IntegerField(
        help_text="What a rounded budget counts: call by call, the greater of reported and ours."
    )
    cost_microcents = serializers.IntegerField(help_text="Exact, with corrections.")
    correction_microcents = serializers.IntegerField(help_text="The corrections in it.")
    unmeasured_calls = serializers.IntegerField(
        help_text="Calls of the month whose usage is still unknown."
    )
    provisional_cents = serializers.IntegerField(
        help_text="What budgets count of these calls until their usage is known; not in the costs."
    )
    provisional_microcents = serializers.IntegerField()
    provisional_tokens = serializers.IntegerField()
    held_calls = serializers.IntegerField()
    held_cents = serializers.IntegerField()
    held_microcents = serializers.IntegerField()
    held_tokens = serializers.IntegerField()

    display = DisplayOutput(
        allow_null=True, help_text="Null unless the tenant has a display currency."
    )

    def get_fields(self) -> dict[str, Any]:
        """The fields above, and one for each limit."""
        return super().get_fields() | {limit.shown_as: _field_of(limit) for limit in LIMITS}


class LimitsView(PersonView):
    """An integration's limits and use, this month."""

    @extend_schema(operation_id="integrations_limits", responses=LimitsOutput)
    def get(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Limits, use of the month, and what remains."""
        integration = found_integration(request, integration_id)
        return Response(LimitsOutput(limits_of(integration, now=database_now())).data)
