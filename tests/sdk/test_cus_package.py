"""What `import aos_sdk` is and does."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import aos_sdk

# The public surface is a promise, so each name is here for a reason.
EXPORTS = {
    "§14": """
        CusReporter CusUsageRecord CusCallTracker CusBaseProvider CusProviderConfig CusProviderError
        count_tokens estimate_tokens get_model_info tiktoken_available calculate_cost
        calculate_cost_breakdown get_model_pricing format_cost CusPricingTable CusOpenAIProvider
        create_openai_provider CusAnthropicProvider create_anthropic_provider cus_configure cus_track
        cus_telemetry cus_wrap cus_install_middleware cus_shutdown
    """,
    "programs written for the reference implementation have them": """
        CusPolicyResult CusModelPricing CusModelInfo CusTelemetryTracker CusCallContext
        CusProviderStatus cus_uninstall_middleware cus_get_reporter generate_call_id
        count_message_tokens extract_usage extract_openai_usage extract_anthropic_usage
        get_context_window estimate_cost get_pricing_version MODEL_REGISTRY
    """,
    "what the above take, return or tell": """
        CusOperation CusIngestStatus CusReporterStats CusCostBreakdown CusCostParts CusPricedCall
        CusTokenUsage CusReportedUsage
    """,
    "to be caught, or told to on_error": """
        CusError CusConfigurationError CusUnknownModel CusLimitExceeded CusDeliveryError
        CusDeliveryDelayed CusKeyRefused CusRecordRefused CusSpoolUnavailable CusLimitsUnchecked
    """,
    "exact costs, all kinds of tokens, sessions of a block": """
        calculate_cost_microcents price_call extract_token_usage CusStreamUsage cus_context
    """,
    "enforcement": """
        CusEnforcer EnforcementDecision EnforcementReason EnforcementResult
        CusHardBlocked CusBlocked CusThrottled CusLimitWarning
    """,
    "as of every package": "__version__",
}


def _in_a_fresh_interpreter(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return run.stdout


def test_the_public_names_are_these_and_each_of_them_loads() -> None:
    names = [name for group in EXPORTS.values() for name in group.split()]
    assert sorted(aos_sdk.__all__) == sorted(names)
    assert all(getattr(aos_sdk, name) for name in names)
    assert set(names) <= set(dir(aos_sdk))


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


def test_the_programs_context_stays_as_it_was() -> None:
    """To make a decimal in it would fix its settings before the program has said what it wants."""
    code = """
import contextvars, decimal
import aos_sdk
all(getattr(aos_sdk, name) for name in aos_sdk.__all__)
reporter = aos_sdk.cus_configure("t:i:aosk_s", "http://127.0.0.1:9", spool_dir=None)
with reporter.track_call("openai", "gpt-4o") as call:
    call.set_tokens(1_000, 500)
aos_sdk.cus_install_middleware()
print(list(contextvars.copy_context()))
decimal.getcontext().prec = 2
print(aos_sdk.get_model_pricing("gpt-4.1-nano").cached)
"""
    assert _in_a_fresh_interpreter(code).split("\n")[:2] == ["[]", "0.000025"]


def test_the_version_is_the_distributions() -> None:
    root = Path(aos_sdk.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert aos_sdk.__version__ == project["version"]
    assert (root / "aos_sdk" / "py.typed").exists()
