"""What the page of a usage record shows, by subject."""

from typing import Final

from aos_sdk.cus_cost import CusTokenUsage

FIELDSETS: Final = (
    (
        "The call",
        {
            "fields": (
                "call_id",
                "policy_result",
                "error_code",
                "error_message",
                "degraded",
                "latency_ms",
                "model",
                "model_requested",
                "provider",
                "host",
                "region",
                "operation",
                "stream",
                "service_tier",
            )
        },
    ),
    (
        "Whose",
        {
            "fields": (
                "tenant_id",
                "integration_id",
                "agent_id",
                "session_id",
                "end_user",
                "tags",
                "metadata",
            )
        },
    ),
    (
        "Tokens",
        {
            "description": "The kinds below the first two are parts of them.",
            "fields": (*CusTokenUsage._fields, "billed_units", "turns"),
        },
    ),
    (
        "Cost",
        {
            "fields": (
                "cost_microcents",
                "corrected_cost",
                "counted",
                "cost_cents",
                "pricing",
                "pricing_version",
                "price_id",
                "unpriced_units",
                "reported_pricing_version",
                "provider_cost_microcents",
                "provisional_cents",
                "provisional_microcents",
                "provisional_tokens",
                "settlement",
                "estimate_cents",
                "estimate_microcents",
                "estimate_tokens",
            )
        },
    ),
    (
        "At the provider",
        {
            "fields": (
                "response_id",
                "provider_request_id",
                "provider_project",
                "provider_key_hint",
            )
        },
    ),
    (
        "When",
        {
            "fields": (
                "occurred_at",
                "sent_timestamp",
                "admitted_at",
                "created_at",
                "delay",
            )
        },
    ),
    ("Record", {"fields": ("id", "flags", "process_id", "sequence", "lease_id")}),
)
