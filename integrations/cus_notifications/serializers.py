"""What the API of notifications takes and gives."""

from typing import Any

from rest_framework import serializers

from integrations.cus_notifications.kinds import MUTABLE_CHOICES
from integrations.cus_notifications.models import CusNotificationDelivery, CusNotificationTarget
from integrations.cus_web.strict_fields import StrictChoice, StrictInput, StrictText

_MUTED = "Kinds of events of which it is not told."
_SECRET = "Signs the webhook's messages; no later answer shows it. null for e-mail."  # noqa: S105  (a description)


class MutedKindsField(serializers.ListField):
    """Some kinds of events."""

    child = StrictChoice(MUTABLE_CHOICES)

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=len(MUTABLE_CHOICES), **options)


class TargetInput(StrictInput):
    """An address that is to be told."""

    medium = StrictChoice(CusNotificationTarget.Medium.choices)
    address = StrictText(max_length=2_048, help_text="An e-mail address, or an https URL.")
    muted_kinds = MutedKindsField(required=False, help_text=_MUTED)


class TargetChange(StrictInput):
    """What a target is not told of."""

    shown_only = frozenset({"id", "medium", "address", "created_at", "failures", "retry_at"})
    muted_kinds = MutedKindsField(help_text=_MUTED)


class TargetOutput(serializers.ModelSerializer[CusNotificationTarget]):
    """An address that is told."""

    failures = serializers.IntegerField(help_text="Failed tries of the webhook in a row.")
    retry_at = serializers.DateTimeField(
        allow_null=True, help_text="When the webhook is tried again; null: at once."
    )

    class Meta:
        model = CusNotificationTarget
        fields: tuple[str, ...] = (
            "id",
            "medium",
            "address",
            "muted_kinds",
            "failures",
            "retry_at",
            "created_at",
        )


class TargetAdded(TargetOutput):
    """A target, with its webhook's secret."""

    secret = serializers.CharField(allow_null=True, help_text=_SECRET)

    class Meta(TargetOutput.Meta):
        fields = (*TargetOutput.Meta.fields, "secret")


class DeliveryOutput(serializers.ModelSerializer[CusNotificationDelivery]):
    """One event for one target."""

    event_id = serializers.UUIDField(help_text="Also in the message: receivers drop repetitions.")
    kind = serializers.CharField(source="event.kind")
    summary = serializers.CharField(source="event.summary")
    target_id = serializers.UUIDField()
    medium = serializers.ChoiceField(
        source="target.medium", choices=CusNotificationTarget.Medium.choices
    )
    next_try_at = serializers.DateTimeField(allow_null=True, help_text="null: at once, or no more.")

    class Meta:
        model = CusNotificationDelivery
        fields = (
            "id",
            "event_id",
            "kind",
            "summary",
            "target_id",
            "medium",
            "status",
            "attempts",
            "last_tried_at",
            "next_try_at",
            "result",
            "sent_at",
            "created_at",
        )


class DeliveryFilters(StrictInput):
    """Which deliveries to list."""

    tenant_id = serializers.UUIDField(
        required=False, help_text="The tenant. Operators must name it; others have their own."
    )

    target_id = serializers.UUIDField(required=False)
    status = serializers.ChoiceField(required=False, choices=CusNotificationDelivery.Status.choices)


class MutedInput(StrictInput):
    """The kinds of events of which the caller gets no mail."""

    kinds = MutedKindsField(help_text="Those kinds, and no others.")


class MutedOutput(serializers.Serializer[object]):
    """The kinds of events of which the caller gets no mail."""

    kinds = serializers.ListField(child=serializers.ChoiceField(choices=MUTABLE_CHOICES))
