"""The rooms inside the SDK: imports from outside still work, and imports inside go one way."""

import copy
import pickle
import subprocess
import sys
import tomllib
from importlib import import_module
from typing import Any

import grimp
import pytest
from importlinter.contracts.layers import LayersContract

import aos_sdk
from aos_sdk.cus_delivery.ended_call import CusEndedCall
from tests.conftest import ROOT
from tests.sdk.conftest import MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector

# What programs could import before the inside moved into rooms, by its path: the public names of the
# package, and what the server, the benchmarks and the upgrade test import. Nothing leaves this list.
PATHS = {
    "cus_anthropic": "CusAnthropicProvider create_anthropic_provider",
    "cus_base": "CusBaseProvider CusCallContext CusProviderConfig CusProviderStatus",
    "cus_enforcer": "CusEnforcer",
    "cus_enforcing.decisions": "EnforcementDecision EnforcementReason EnforcementResult",
    "cus_configuration": "cus_configure cus_get_reporter cus_shutdown",
    "cus_connection": "CusConnection CusIntegrationKey",
    "cus_cost": """
        CusCostBreakdown CusCostParts CusModelPricing CusPricedCall CusPricingTable CusTokenUsage
        CusUnknownModel MICROCENTS_PER_CENT calculate_cost calculate_cost_breakdown
        calculate_cost_microcents canonical_name estimate_cost format_cost get_model_pricing
        get_pricing_version price_call
    """,
    "cus_doctor": "CusFinding CusState doctor examine main",
    "cus_errors": """
        CusConfigurationError CusDeliveryDelayed CusDeliveryError CusError CusKeyRefused
        CusLimitExceeded CusProviderError CusRecordRefused CusSpoolUnavailable
        CusBlocked CusHardBlocked CusThrottled CusLimitWarning CusLimitsUnchecked
    """,
    "cus_message_tokens": "count_message_tokens",
    "cus_middleware": """
        CusTelemetryTracker cus_install_middleware cus_telemetry cus_track cus_uninstall_middleware
        cus_wrap
    """,
    "cus_openai": "CusOpenAIProvider create_openai_provider",
    "cus_pricing": "CusCostParts CusModelPricing CusTokenUsage",
    "cus_record": "CusUsageRecord generate_call_id",
    "cus_reported_usage": "CusReportedUsage",
    "cus_reporter": "CusReporter CusReporterStats",
    "cus_scope": "cus_context",
    "cus_spool": "CusSpool spool_folder",
    "cus_token_counter": """
        CusModelInfo MODEL_REGISTRY count_tokens estimate_tokens get_context_window get_model_info
        tiktoken_available
    """,
    "cus_tracker": "CusCallTracker",
    "cus_usage": """
        CusStreamUsage extract_anthropic_usage extract_openai_usage extract_token_usage
        extract_usage
    """,
    "cus_wire": """
        CusEnforcementResult CusIngestStatus CusOperation CusPolicyResult CusReasonCode DROP_REASONS
        ENFORCEMENT_BATCH_PATH ENFORCEMENT_CHECK_PATH ENFORCEMENT_CONFIG_PATH ENFORCEMENT_LEASE_PATH
        ENFORCEMENT_STATUS_PATH INT32_MAX INTEGRATION_KEY_HEADER KEY_SECRET_PREFIX
        LLM_USAGE_BATCH_PATH LLM_USAGE_PATH MAX_BATCH_BYTES MAX_BATCH_CHECKS MAX_BATCH_RECORDS
        MAX_BYPASS_HOSTS MAX_ERROR_MESSAGE_LENGTH MAX_METADATA_BYTES MAX_METADATA_DEPTH
        MAX_MODEL_LENGTH TELEMETRY_BYPASS_PATH base62 is_key_secret json_may_hold_secret
        key_checksum mask_json mask_name mask_secrets
    """,
}
# As the release before the rooms pickled `CusTokenUsage(1, 2)`.
_OLD_PICKLE = (
    b"\x80\x04\x95A\x00\x00\x00\x00\x00\x00\x00\x8c\x13aos_sdk.cus_pricing\x94\x8c\rCusTokenUsage"
    b"\x94\x93\x94(K\x01K\x02K\x00K\x00K\x00K\x00K\x00K\x00K\x00Nt\x94\x81\x94."
)
_LAYERS = "The SDK's rooms point one way: capture, delivery, counting, prices, words"
_LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def _graph(*, of_type_checkers: bool = False) -> grimp.ImportGraph:
    return grimp.build_graph(
        "aos_sdk", exclude_type_checking_imports=not of_type_checkers, cache_dir=None
    )


def _imports_in_circles(graph: grimp.ImportGraph) -> list[str]:
    return sorted(
        f"{importer} -> {imported}"
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if graph.find_shortest_chain(importer=imported, imported=importer)
    )


def _points_one_way(graph: grimp.ImportGraph) -> bool:
    options = next(one for one in _LINTER["contracts"] if one["name"] == _LAYERS)
    # As the linter reads them from the file.
    contract = LayersContract(
        name=_LAYERS,
        session_options={"root_packages": ["aos_sdk"]},
        contract_options={
            name: str(value) if isinstance(value, bool) else value
            for name, value in options.items()
        },
    )
    return bool(contract.check(copy.deepcopy(graph), verbose=False).kept)


def _with(graph: grimp.ImportGraph, importer: str, imported: str) -> grimp.ImportGraph:
    """The graph with one import more, of modules that need not exist."""
    planted = copy.deepcopy(graph)
    for module in (importer, imported):
        planted.add_module(f"aos_sdk.{module}")
    planted.add_import(importer=f"aos_sdk.{importer}", imported=f"aos_sdk.{imported}")
    return planted


@pytest.mark.parametrize("path", PATHS)
def test_a_path_from_before_the_rooms_still_has_its_names(path: str) -> None:
    module: Any = import_module(f"aos_sdk.{path}")

    for name in PATHS[path].split():
        found = getattr(module, name)
        assert found is getattr(aos_sdk, name, found)


def test_every_public_name_is_in_the_module_that_it_had() -> None:
    listed = {name for names in PATHS.values() for name in names.split()}

    assert set(aos_sdk.__all__) - {"__version__"} <= listed


def test_a_pickle_of_the_release_before_is_read() -> None:
    usage = pickle.loads(_OLD_PICKLE)

    assert type(usage) is aos_sdk.CusTokenUsage
    assert usage == aos_sdk.CusTokenUsage(1, 2)


@pytest.mark.parametrize("of_type_checkers", [False, True])
def test_no_module_imports_itself_by_way_of_others(*, of_type_checkers: bool) -> None:
    graph = _graph(of_type_checkers=of_type_checkers)

    assert _imports_in_circles(graph) == []
    assert _imports_in_circles(_with(graph, "cus_delivery.ended_call", "cus_tracker"))


def test_the_rooms_point_one_way() -> None:
    assert _points_one_way(_graph())


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("cus_delivery.planted", "cus_capture.planted"),
        ("cus_delivery.planted", "cus_tracker"),
        ("cus_delivery.planted", "cus_scope"),
        ("cus_counting.planted", "cus_delivery.planted"),
        ("cus_counting.planted", "cus_capture.planted"),
        ("cus_providers.planted", "cus_capture.planted"),
        ("cus_pricing.planted", "cus_counting.planted"),
        ("cus_wire", "cus_pricing.planted"),
    ],
)
def test_a_new_module_of_a_room_knows_nothing_above_its_room(importer: str, imported: str) -> None:
    graph = _graph()

    assert not _points_one_way(_with(graph, importer, imported))
    assert _points_one_way(_with(graph, "cus_capture.planted", imported))


def test_a_new_module_beside_the_rooms_is_given_its_place() -> None:
    assert not _points_one_way(_with(_graph(), "cus_planted", "cus_wire"))


def test_delivery_loads_nothing_of_capture() -> None:
    code = """
import sys
import aos_sdk.cus_delivery.sender, aos_sdk.cus_delivery.spool, aos_sdk.cus_delivery.transport
capture = ("aos_sdk.cus_capture", "aos_sdk.cus_tracker", "aos_sdk.cus_scope")
print([name for name in sys.modules if name.startswith(capture)])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout == "[]\n"


@pytest.mark.parametrize("spool_dir", ["state", None])
def test_delivery_takes_a_call_that_something_else_than_capture_has_measured(
    make_reporter: MakeReporter, collector: CusFakeCollector, spool_dir: str | None
) -> None:
    reporter = make_reporter(spool_dir=spool_dir)
    call = CusEndedCall()
    call.reporter, call.call_id, call.provider, call.model = (
        reporter,
        "measured",
        "openai",
        "gpt-4o",
    )
    call.operation = call.session_id = call.agent_id = None
    call.started_at, call.latency_ms = 1_700_000_000_000_000_000, 12
    call.usage = aos_sdk.CusTokenUsage(1_000, 500)
    reporter.report_call(call)

    assert reporter.flush(10) == 0
    record = collector.stored["measured"]
    assert (record["tokens_in"], record["latency_ms"], record["cost_cents"]) == (1_000, 12, 1)
