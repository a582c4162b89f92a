"""AOS Customer Integrations: reports every LLM call of a program, never its prompts.

Names are loaded when they are first used: importing this package imports nothing else, starts no
thread and touches no network.
"""

# Type checkers know this name. Importing `typing` for it would cost more than the whole package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from aos_sdk.cus_anthropic import CusAnthropicProvider, create_anthropic_provider
    from aos_sdk.cus_base import (
        CusBaseProvider,
        CusCallContext,
        CusProviderConfig,
        CusProviderStatus,
    )
    from aos_sdk.cus_configuration import cus_configure, cus_get_reporter, cus_shutdown
    from aos_sdk.cus_cost import (
        CusCostBreakdown,
        CusCostParts,
        CusModelPricing,
        CusPricedCall,
        CusPricingTable,
        CusTokenUsage,
        CusUnknownModel,
        calculate_cost,
        calculate_cost_breakdown,
        calculate_cost_microcents,
        estimate_cost,
        format_cost,
        get_model_pricing,
        get_pricing_version,
        price_call,
    )
    from aos_sdk.cus_enforcer import CusEnforcer
    from aos_sdk.cus_enforcing.decisions import (
        EnforcementDecision,
        EnforcementReason,
        EnforcementResult,
    )
    from aos_sdk.cus_errors import (
        CusBlocked,
        CusConfigurationError,
        CusDeliveryDelayed,
        CusDeliveryError,
        CusError,
        CusHardBlocked,
        CusKeyRefused,
        CusLimitExceeded,
        CusLimitsUnchecked,
        CusLimitWarning,
        CusProviderError,
        CusRecordRefused,
        CusSpoolUnavailable,
        CusThrottled,
    )
    from aos_sdk.cus_message_tokens import count_message_tokens
    from aos_sdk.cus_middleware import (
        CusTelemetryTracker,
        cus_install_middleware,
        cus_telemetry,
        cus_track,
        cus_uninstall_middleware,
        cus_wrap,
    )
    from aos_sdk.cus_openai import CusOpenAIProvider, create_openai_provider
    from aos_sdk.cus_record import CusUsageRecord, generate_call_id
    from aos_sdk.cus_reported_usage import CusReportedUsage
    from aos_sdk.cus_reporter import CusReporter, CusReporterStats
    from aos_sdk.cus_scope import cus_context
    from aos_sdk.cus_token_counter import (
        MODEL_REGISTRY,
        CusModelInfo,
        count_tokens,
        estimate_tokens,
        get_context_window,
        get_model_info,
        tiktoken_available,
    )
    from aos_sdk.cus_tracker import CusCallTracker
    from aos_sdk.cus_usage import (
        CusStreamUsage,
        extract_anthropic_usage,
        extract_openai_usage,
        extract_token_usage,
        extract_usage,
    )
    from aos_sdk.cus_version import __version__
    from aos_sdk.cus_wire import CusIngestStatus, CusOperation, CusPolicyResult

_MODULE_OF = {
    name: module
    for module, names in {
        "cus_base": ("CusBaseProvider", "CusCallContext", "CusProviderConfig", "CusProviderStatus"),
        "cus_anthropic": ("CusAnthropicProvider", "create_anthropic_provider"),
        "cus_configuration": ("cus_configure", "cus_get_reporter", "cus_shutdown"),
        "cus_scope": ("cus_context",),
        "cus_middleware": (
            "CusTelemetryTracker",
            "cus_install_middleware",
            "cus_telemetry",
            "cus_track",
            "cus_uninstall_middleware",
            "cus_wrap",
        ),
        "cus_cost": (
            "CusCostBreakdown",
            "CusCostParts",
            "CusModelPricing",
            "CusPricedCall",
            "CusPricingTable",
            "CusTokenUsage",
            "CusUnknownModel",
            "calculate_cost",
            "calculate_cost_breakdown",
            "calculate_cost_microcents",
            "estimate_cost",
            "format_cost",
            "get_model_pricing",
            "get_pricing_version",
            "price_call",
        ),
        "cus_enforcing.decisions": (
            "EnforcementDecision",
            "EnforcementReason",
            "EnforcementResult",
        ),
        "cus_enforcer": ("CusEnforcer",),
        "cus_errors": (
            "CusBlocked",
            "CusConfigurationError",
            "CusDeliveryDelayed",
            "CusDeliveryError",
            "CusError",
            "CusHardBlocked",
            "CusKeyRefused",
            "CusLimitExceeded",
            "CusLimitsUnchecked",
            "CusLimitWarning",
            "CusProviderError",
            "CusRecordRefused",
            "CusSpoolUnavailable",
            "CusThrottled",
        ),
        "cus_message_tokens": ("count_message_tokens",),
        "cus_openai": ("CusOpenAIProvider", "create_openai_provider"),
        "cus_record": ("CusUsageRecord", "generate_call_id"),
        "cus_reporter": ("CusReporter", "CusReporterStats"),
        "cus_token_counter": (
            "CusModelInfo",
            "MODEL_REGISTRY",
            "count_tokens",
            "estimate_tokens",
            "get_context_window",
            "get_model_info",
            "tiktoken_available",
        ),
        "cus_tracker": ("CusCallTracker",),
        "cus_reported_usage": ("CusReportedUsage",),
        "cus_usage": (
            "CusStreamUsage",
            "extract_anthropic_usage",
            "extract_openai_usage",
            "extract_token_usage",
            "extract_usage",
        ),
        "cus_version": ("__version__",),
        "cus_wire": ("CusIngestStatus", "CusOperation", "CusPolicyResult"),
    }.items()
    for name in names
}

__all__ = [
    "MODEL_REGISTRY",
    "CusAnthropicProvider",
    "CusBaseProvider",
    "CusBlocked",
    "CusCallContext",
    "CusCallTracker",
    "CusConfigurationError",
    "CusCostBreakdown",
    "CusCostParts",
    "CusDeliveryDelayed",
    "CusDeliveryError",
    "CusEnforcer",
    "CusError",
    "CusHardBlocked",
    "CusIngestStatus",
    "CusKeyRefused",
    "CusLimitExceeded",
    "CusLimitWarning",
    "CusLimitsUnchecked",
    "CusModelInfo",
    "CusModelPricing",
    "CusOpenAIProvider",
    "CusOperation",
    "CusPolicyResult",
    "CusPricedCall",
    "CusPricingTable",
    "CusProviderConfig",
    "CusProviderError",
    "CusProviderStatus",
    "CusRecordRefused",
    "CusReportedUsage",
    "CusReporter",
    "CusReporterStats",
    "CusSpoolUnavailable",
    "CusStreamUsage",
    "CusTelemetryTracker",
    "CusThrottled",
    "CusTokenUsage",
    "CusUnknownModel",
    "CusUsageRecord",
    "EnforcementDecision",
    "EnforcementReason",
    "EnforcementResult",
    "__version__",
    "calculate_cost",
    "calculate_cost_breakdown",
    "calculate_cost_microcents",
    "count_message_tokens",
    "count_tokens",
    "create_anthropic_provider",
    "create_openai_provider",
    "cus_configure",
    "cus_context",
    "cus_get_reporter",
    "cus_install_middleware",
    "cus_shutdown",
    "cus_telemetry",
    "cus_track",
    "cus_uninstall_middleware",
    "cus_wrap",
    "estimate_cost",
    "estimate_tokens",
    "extract_anthropic_usage",
    "extract_openai_usage",
    "extract_token_usage",
    "extract_usage",
    "format_cost",
    "generate_call_id",
    "get_context_window",
    "get_model_info",
    "get_model_pricing",
    "get_pricing_version",
    "price_call",
    "tiktoken_available",
]


def __getattr__(name: str) -> object:
    module = _MODULE_OF.get(name)
    if module is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    value = getattr(import_module(f"aos_sdk.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
