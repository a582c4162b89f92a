"""What `import aos_sdk` is and does."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import aos_sdk

EXPORTS = [
    "MODEL_REGISTRY",
    "CusAnthropicProvider",
    "CusBaseProvider",
    "CusCallContext",
    "CusCallTracker",
    "CusConfigurationError",
    "CusCostBreakdown",
    "CusCostParts",
    "CusDeliveryDelayed",
    "CusDeliveryError",
    "CusError",
    "CusIngestStatus",
    "CusKeyRefused",
    "CusLimitExceeded",
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
    "CusTokenUsage",
    "CusUnknownModel",
    "CusUsageRecord",
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
    "in_governed_call",
    "price_call",
    "tiktoken_available",
]


def _in_a_fresh_interpreter(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    return run.stdout


def test_the_public_names_are_these_and_each_of_them_loads() -> None:
    assert aos_sdk.__all__ == EXPORTS
    assert all(getattr(aos_sdk, name) for name in EXPORTS)
    assert set(EXPORTS) <= set(dir(aos_sdk))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = aos_sdk.nonsense


def test_importing_loads_nothing_else_and_starts_no_thread() -> None:
    code = """
import sys, threading
before = set(sys.modules)
import aos_sdk
print(sorted(set(sys.modules) - before), threading.active_count())
"""
    assert _in_a_fresh_interpreter(code) == "['aos_sdk'] 1\n"


def test_reporting_loads_no_http_client_and_no_provider_on_the_callers_side() -> None:
    code = """
import sys, threading
from aos_sdk import CusReporter, CusOpenAIProvider, calculate_cost, count_message_tokens
CusReporter("t:i:aosk_s", "http://127.0.0.1:9")
print(sorted({"urllib3", "openai", "tiktoken", "regex", "certifi", "ssl"} & set(sys.modules)))
print(threading.active_count())
"""
    assert _in_a_fresh_interpreter(code).split("\n")[:2] == ["[]", "1"]


def test_the_version_is_the_distributions() -> None:
    root = Path(aos_sdk.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert aos_sdk.__version__ == project["version"]
    assert (root / "aos_sdk" / "py.typed").exists()
