"""Input and output of the API of requests for increases."""

from rest_framework import serializers

from integrations.cus_increases.models import OWN_LIMITS, CusIncreaseRequest
from integrations.cus_limits.models import MOST
from integrations.cus_web.strict_fields import (
    StrictChoice,
    StrictInput,
    StrictInteger,
    StrictMoment,
    StrictText,
)


class IncreaseOutput(serializers.ModelSerializer[CusIncreaseRequest]):
    """A request for an increase, and its decision."""

    limit_id = serializers.UUIDField(allow_null=True, help_text="The limit that is to be raised.")
    limit = serializers.SerializerMethodField(
        help_text="The integration's own limit that is to be raised, else null."
    )
    value = serializers.SerializerMethodField(
        "named", help_text="The name that calls have; null: each value, or all calls."
    )
    decided_by = serializers.SerializerMethodField(help_text="The address of who decided.")
    made_limit_id = serializers.UUIDField(
        allow_null=True, help_text="The limit that an approved request became."
    )

    class Meta:
        model = CusIncreaseRequest
        fields = (
            "id",
            "tenant_id",
            "integration_id",
            "limit_id",
            "limit",
            "scope",
            "tag",
            "value",
            "unit",
            "window",
            "present_amount",
            "amount",
            "valid_until",
            "reason",
            "state",
            "asked_by",
            "created_at",
            "decided_by",
            "decided_at",
            "answer",
            "made_limit_id",
        )

    def get_limit(self, request: CusIncreaseRequest) -> str | None:
        return request.own_limit or None

    def named(self, request: CusIncreaseRequest) -> str | None:
        return request.value or None

    def get_decided_by(self, request: CusIncreaseRequest) -> str | None:
        return request.decided_by.email if request.decided_by else None


class IncreaseInput(StrictInput):
    """Which limit to raise, to how much, until when, and why.

    The limit is one at a scope (`limit_id`), or one of an integration's own (`integration_id` and
    `limit`).
    """

    limit_id = serializers.UUIDField(required=False)
    integration_id = serializers.UUIDField(required=False)
    limit = StrictChoice(OWN_LIMITS, required=False)
    value = StrictText(
        max_length=100,
        required=False,
        allow_null=True,
        help_text="Of a limit of each value: for which value alone.",
    )
    amount = StrictInteger(
        min_value=1, max_value=MOST, help_text="What shall hold instead, in the limit's unit."
    )
    valid_until = StrictMoment()
    reason = StrictText(max_length=500)


class IncreaseFilters(StrictInput):
    """Which requests to list."""

    state = StrictChoice(CusIncreaseRequest.State.choices, required=False)
    integration_id = serializers.UUIDField(required=False)


class RefusalInput(StrictInput):
    """Why a request is refused."""

    reason = StrictText(max_length=500, help_text="The person who asked is told this.")
