"""What calls cost on their way through SDK and product, against what their providers bill."""

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from aos_sdk import cus_install_middleware, cus_uninstall_middleware
from aos_sdk.cus_configuration import CusConfiguration, active
from aos_sdk.cus_token_counter import ready_to_count
from telemetry.cus_evidence.models import CusLLMUsage
from tests.corpus import cus_failures
from tests.corpus.cus_calls import UNMEASURED, UNPRICED, Call
from tests.corpus.cus_families import ANSWERED
from tests.corpus.cus_oracle import microcents
from tests.corpus.cus_program import CusProgram
from tests.cus_factories import SdkClient
from tests.sdk.cus_capture_cases import CusRecordingReporter

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # The corpus has models and methods that the packages warn of.
    pytest.mark.filterwarnings("ignore:The model:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),
]

# The day that the corpus' prices are of: a later change of prices leaves them as they are.
_MOMENT: Final = "2026-11-28T12:00:00+00:00"
_FAMILIES: Final = ANSWERED | {"failures": cus_failures.CALLS}
_ALL: Final = [call for calls in _FAMILIES.values() for call in calls]
# A row with one of these has a cost that SDK and server do not agree on, or one by half of its facts.
_WRONG: Final = {
    "tokens_mismatch", "turns_mismatch", "clock_skew", "cost_mismatch", "unknown_tier",
}  # fmt: skip


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[CusRecordingReporter]:
    """The reporter of a program whose clients are watched."""
    # However busy this machine is, what can be counted is not approximated.
    monkeypatch.setattr("aos_sdk.cus_counting.estimates.COUNTING_SECONDS", 60.0)
    while not ready_to_count("gpt-4o"):
        time.sleep(0.01)
    reporter = CusRecordingReporter()
    active.replace(CusConfiguration(reporter))
    cus_install_middleware(detect_bypass=False)
    yield reporter
    cus_uninstall_middleware()
    active.replace(None)
    reporter.shutdown(1.0)


@pytest.mark.parametrize("family", _FAMILIES)
def test_every_call_costs_what_its_provider_bills_or_is_marked_as_unmeasured(
    family: str, recorder: CusRecordingReporter, sdk: SdkClient, settings: Any
) -> None:
    settings.CUS_TELEMETRY_MAX_AGE_DAYS = 36_500
    calls = _FAMILIES[family]
    reported = _reported(calls, recorder)
    answer = sdk.report_batch(*(row for rows in reported.values() for row in rows)).json()
    assert answer["accepted"] == answer["total"], answer["results"]

    stored = {row.call_id: row for row in CusLLMUsage.objects.all()}
    faults = []
    for call in calls:
        rows = [stored[row["call_id"]] for row in reported[call.name]]
        faults += [f"{call.name}: {fault}" for fault in _faults(call, rows)]
    assert not faults, "\n".join(faults)


def _reported(calls: list[Call], recorder: CusRecordingReporter) -> dict[str, list[dict[str, Any]]]:
    """What the SDK reports of each call, by the call's name."""
    program, reported = CusProgram(), {}
    for call in calls:
        recorder.rows.clear()
        program.make(call)
        reported[call.name] = [{**row, "timestamp": _MOMENT} for row in recorder.rows]
    assert recorder.stats.faults == 0
    return reported


def _faults(call: Call, rows: list[CusLLMUsage]) -> list[Any]:
    """What is wrong with the rows of a call: what is there, and what should be."""
    if not rows:
        return ["no row"]
    names = (call.place.provider, call.place.region, call.model)
    found: list[Any] = [
        (told, names) for row in rows if (told := (row.provider, row.region, row.model)) != names
    ]
    found += [flags for row in rows if (flags := _WRONG.intersection(row.flags))]
    return found + _faults_of_cost(call, rows)


def _faults_of_cost(call: Call, rows: list[CusLLMUsage]) -> list[Any]:
    sources = {row.pricing for row in rows}
    cost = sum(row.cost_microcents for row in rows)
    if call.bills == UNMEASURED or (call.is_silent and sources == {"unmeasured"}):
        told = (sources, cost, all(row.provisional_microcents for row in rows))
        return [] if told == ({"unmeasured"}, 0, True) else [told]
    if call.bills == UNPRICED:
        return [] if (sources, cost) == ({"unknown"}, 0) else [(sources, cost)]
    if sources & {"unmeasured", "unknown"}:
        return [sources]
    bill = microcents(call.bills)
    found: list[Any] = [] if cost == bill else [(cost, bill, call.bills)]
    units = {unit for row in rows for unit in row.unpriced_units or ()}
    if units != ({call.unpriced} if call.unpriced else set()):
        found.append(f"the units without a price are {sorted(units)}, not {call.unpriced}")
    return found


def test_the_corpus_is_large_and_every_bill_names_its_page_and_date() -> None:
    assert len(_ALL) >= 150
    assert all(len(calls) == len({call.name for call in calls}) for calls in _FAMILIES.values())
    assert all(call.page.endswith("2026-11-28") for call in _ALL)


def test_whole_and_streamed_answers_of_the_same_call_are_billed_the_same() -> None:
    pairs: dict[str, list[Call]] = {}
    for call in _ALL:
        if call.pair:
            pairs.setdefault(call.pair, []).append(call)

    assert len(pairs) >= 70
    for pair in pairs.values():
        assert [call.is_streamed for call in pair] == [False, True]
        assert len({(call.bills, call.model) for call in pair}) == 1
