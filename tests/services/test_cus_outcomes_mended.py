"""The migration that adds the outcomes of calls which an earlier release stored."""

from importlib import import_module

import pytest
from django.db import connections
from django.db.models import Sum

from telemetry.cus_evidence.models import CusLLMUsage, CusOutcomeTotals
from tests.conftest import as_if
from tests.cus_factories import SdkClient, make_integration, record

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

_SUMS = ("calls", "latency_calls", "latency_sum_ms", "le_300", "le_120000")
_ENDED = (
    {"latency_ms": 200}, {"latency_ms": 500, "error_code": "RateLimitError"},
    {"latency_ms": 90_000, "error_code": "nobody-knows-this"}, {"latency_ms": None},
    {"policy_result": "blocked", "tokens_in": 0, "tokens_out": 0, "cost_cents": 0, "latency_ms": 5},
)  # fmt: skip


def _outcomes() -> set[tuple[object, ...]]:
    keys = ("integration_id", "policy_result", "error_code")
    sums = (Sum(name) for name in _SUMS)
    return {tuple(row) for row in CusOutcomeTotals.objects.values_list(*keys).annotate(*sums)}


def _forget(condition: str) -> None:
    """As the release before would have stored calls: it keeps all totals but these."""
    as_if(f"DELETE FROM cus_outcome_totals WHERE {condition}")


def _mend() -> None:
    migration = import_module("telemetry.migrations.0031_cus_outcomes_mended")
    with connections["owner"].schema_editor(atomic=True) as editor:
        migration.mend(None, editor)


def test_what_is_lacking_is_added_once(sdk: SdkClient) -> None:
    other = SdkClient.of(make_integration())
    for one in (sdk, other):
        one.report_batch(*(record(**ended) for ended in _ENDED))
    expected = _outcomes()
    assert len(expected) == 2 * 4

    _forget("error_code <> '' OR policy_result = 'blocked'")
    assert _outcomes() < expected
    _mend()
    assert _outcomes() == expected
    _mend()
    assert _outcomes() == expected


def test_totals_that_lack_some_of_their_calls_get_only_these(sdk: SdkClient) -> None:
    sdk.report_batch(*(record(latency_ms=200) for _ in range(3)))
    expected = _outcomes()
    as_if(
        "UPDATE cus_outcome_totals SET calls = calls - 1, latency_calls = latency_calls - 1,"
        " latency_sum_ms = latency_sum_ms - 200, le_300 = le_300 - 1, le_120000 = le_120000 - 1"
    )
    _mend()
    assert _outcomes() == expected


def test_rows_of_dropped_months_are_nothing_to_count_by(sdk: SdkClient) -> None:
    sdk.report(record())
    _forget("true")
    as_if("INSERT INTO cus_dropped_months (month, rows) VALUES ('2025-01-01', 1)")
    _mend()
    assert CusLLMUsage.objects.count() == 1
    assert _outcomes() == set()
