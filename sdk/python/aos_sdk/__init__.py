"""AOS Customer Integrations: reports every LLM call of a program, never its prompts.

Names are loaded when they are first used: importing this package imports nothing else, starts no
thread and touches no network.
"""

# Type checkers know this name; importing `typing` for it would cost more than all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from aos_sdk.cus_base import (
        CusBaseProvider,
        CusCallContext,
        CusProviderConfig,
    )
    from aos_sdk.cus_cost import (
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
    from aos_sdk.cus_errors import (
        CusConfigurationError,
        CusDeliveryDelayed,
        CusDeliveryError,
        CusError,
        CusKeyRefused,
        CusLimitExceeded,
        CusProviderError,
        CusRecordRefused,
    )
    from aos_sdk.cus_openai import CusOpenAIProvider, create_openai_provider
    from aos_sdk.cus_record import CusUsageRecord, generate_call_id
    from aos_sdk.cus_reporter import CusReporter, CusReporterStats
    from aos_sdk.cus_tracker import CusCallTracker
    from aos_sdk.cus_wire import CusIngestStatus, CusOperation, CusPolicyResult

__version__ = "0.1.0"

_MODULE_OF = {
    name: module
    for module, names in {
        "cus_base": ("CusBaseProvider", "CusCallContext", "CusProviderConfig"),
        "cus_cost": (
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
        "cus_errors": (
            "CusConfigurationError",
            "CusDeliveryDelayed",
            "CusDeliveryError",
            "CusError",
            "CusKeyRefused",
            "CusLimitExceeded",
            "CusProviderError",
            "CusRecordRefused",
        ),
        "cus_openai": ("CusOpenAIProvider", "create_openai_provider"),
        "cus_record": ("CusUsageRecord", "generate_call_id"),
        "cus_reporter": ("CusReporter", "CusReporterStats"),
        "cus_tracker": ("CusCallTracker",),
        "cus_wire": ("CusIngestStatus", "CusOperation", "CusPolicyResult"),
    }.items()
    for name in names
}

__all__ = [
    "CusBaseProvider",
    "CusCallContext",
    "CusCallTracker",
    "CusConfigurationError",
    "CusDeliveryDelayed",
    "CusDeliveryError",
    "CusError",
    "CusIngestStatus",
    "CusKeyRefused",
    "CusLimitExceeded",
    "CusModelPricing",
    "CusOpenAIProvider",
    "CusOperation",
    "CusPolicyResult",
    "CusPricedCall",
    "CusPricingTable",
    "CusProviderConfig",
    "CusProviderError",
    "CusRecordRefused",
    "CusReporter",
    "CusReporterStats",
    "CusTokenUsage",
    "CusUnknownModel",
    "CusUsageRecord",
    "__version__",
    "calculate_cost",
    "calculate_cost_breakdown",
    "calculate_cost_microcents",
    "create_openai_provider",
    "estimate_cost",
    "format_cost",
    "generate_call_id",
    "get_model_pricing",
    "get_pricing_version",
    "price_call",
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
