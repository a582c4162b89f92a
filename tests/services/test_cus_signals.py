"""What /metrics says: exact figures of the evidence, bounded series, and nothing of single calls."""

import re
import subprocess
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path
from shutil import which

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from aos_project.cus_signals import families
from aos_sdk.cus_fields import TOKEN_NAMES
from aos_sdk.cus_wire import CusReasonCode
from enforcement.cus_decisions.models import CusDecisionReasons, CusEnforcementDecision
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.month_forecast import keep_forecasts
from telemetry.cus_delivery.sequences import fold_sequences
from telemetry.cus_evidence.models import CusLifetimeTotals, CusLLMUsage, CusOutcomeTotals
from telemetry.cus_evidence.outcomes import BOUNDS_MS, ERROR_CODES
from telemetry.cus_signals.exposition import CusFamily, dollars, escaped, gauge, text_of
from telemetry.cus_signals.models import CusModelSeries
from tests.conftest import ROOT
from tests.cus_factories import SdkClient, make_integration, make_many, record, unmeasured

pytestmark = pytest.mark.django_db

Series = dict[tuple[tuple[str, str], ...], float]
PREFIXES = ("cus_llm_", "cus_enforcement_", "cus_integration_")
# Labels by which there would be a series for each call, session, agent, user, host or program.
FORBIDDEN = {
    *("call_id", "session_id", "agent_id", "agent", "end_user", "process_id", "response_id"),
    *("host", "tag", "lease_id", "key"),
}


def scraped(client: Client) -> dict[str, Series]:
    """All series by the names of their samples, as Prometheus reads the page."""
    text = client.get("/metrics").content.decode()
    found: dict[str, Series] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            of_name = found.setdefault(sample.name, {})
            assert labels not in of_name, f"{sample.name} has two series of {labels}"
            of_name[labels] = sample.value
    return found


def value(series: Series, **labels: str) -> float:
    """The sum of the series with these labels."""
    wanted = labels.items()
    return sum(number for key, number in series.items() if wanted <= dict(key).items())


# --- The page -----------------------------------------------------------------------------------


def test_every_metric_of_ours_keeps_to_the_names_of_the_specification() -> None:
    names = {family.name for family in families(timezone.now())}
    others = {name for name in names if not name.startswith(PREFIXES)}
    # Ruling O1: an alert of the specification depends on this name.
    assert others == {"cus_policy_results_total"}


def test_every_metric_is_described_and_every_described_metric_is_there() -> None:
    names = {family.name for family in families(timezone.now())}
    described = re.findall(r"^\| `(cus_\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.M)
    assert sorted(described) == sorted(names)


@pytest.mark.django_db(transaction=True)
def test_no_series_carries_an_id_of_a_call_a_session_or_an_agent(
    client: Client, sdk: SdkClient
) -> None:
    sent = record(
        session_id="session-of-mine", agent_id="agent-of-mine", end_user="person-of-mine",
        process_id="process-of-mine", sequence=1, response_id="response-of-mine",
        tags={"team": "tag-of-mine"}, error_code="code-of-mine",
    )  # fmt: skip
    sdk.report(sent)
    sdk.check("checked-of-mine")
    assert CusLLMUsage.objects.count() == 1

    text = client.get("/metrics").content.decode()
    labels = {
        label
        for name, series in scraped(client).items()
        if name.startswith("cus_")
        for key in series
        for label, _ in key
    }
    assert not labels & FORBIDDEN
    assert "of-mine" not in text
    assert sent["call_id"] not in text


def test_no_module_of_the_evidence_imports_metrics() -> None:
    """The import contract says so too; this reads the files themselves."""
    wrong = re.compile(r"^\s*(?:from|import) .*\b(?:prometheus|cus_signals|cus_analytics)", re.M)
    rooms = ("cus_delivery", "cus_evidence", "cus_holds", "cus_money", "cus_seals")
    modules = [path for room in rooms for path in (ROOT / "telemetry" / room).glob("**/*.py")]
    modules += (ROOT / "enforcement").glob("cus_*/**/*.py")
    assert len(modules) > 50
    assert [path for path in modules if wrong.search(Path(path).read_text())] == []


def test_a_page_takes_as_many_statements_with_many_integrations_as_with_one(
    client: Client, integration: CusIntegration
) -> None:
    client.get("/metrics")
    with CaptureQueriesContext(connection) as few:
        client.get("/metrics")
    make_many(integration.tenant, 50)
    with CaptureQueriesContext(connection) as many:
        client.get("/metrics")
    assert len(few) == len(many) <= 25


@pytest.mark.skipif(which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say_about_the_page(client: Client, sdk: SdkClient) -> None:
    sdk.report(record())
    text = text_of(families(timezone.now()))
    ran = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False
    )
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_label_values_are_escaped_as_the_format_asks() -> None:
    family = gauge("cus_llm_x", "Says.")
    family.add(f'model="{escaped(chr(34) + chr(92) + chr(10))}"', 1)
    (read,) = text_string_to_metric_families(text_of([family]))
    assert read.samples[0].labels == {"model": '"\\\n'}


def test_a_metric_without_series_is_left_out() -> None:
    assert text_of([CusFamily("cus_llm_x", "gauge", "Says.")]) == ""


@pytest.mark.parametrize(
    ("microcents", "text"),
    [(0, "0.00000000"), (1, "0.00000001"), (12_345_678_901, "123.45678901"), (-5, "-0.00000005")],
)
def test_dollars_are_exact(microcents: int, text: str) -> None:
    assert dollars(microcents) == text


# --- Calls --------------------------------------------------------------------------------------


def test_costs_are_in_cents_microcents_and_dollars(
    client: Client, sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report_batch(record(), record(model="gpt-4o-mini"))
    page = scraped(client)
    whose = {"integration_id": str(integration.id)}
    exact = sum(CusLLMUsage.objects.values_list("cost_microcents", flat=True))
    assert value(page["cus_llm_cost_cents_total"], **whose) == 2
    assert value(page["cus_llm_cost_microcents_total"], **whose) == exact > 0
    assert value(page["cus_llm_cost_dollars_total"], **whose) == pytest.approx(exact / 1e8)
    assert value(page["cus_llm_calls_total"], **whose, model="gpt-4o-mini") == 1


def test_types_of_tokens_are_disjoint_and_add_up_to_what_was_reported(
    client: Client, sdk: SdkClient
) -> None:
    parts = dict.fromkeys(TOKEN_NAMES[2:], 10) | {"tokens_cache_write": 30}
    sdk.report(record(tokens_in=1_000, tokens_out=500, **parts))
    page = scraped(client)["cus_llm_tokens_total"]
    found = {dict(key)["token_type"]: number for key, number in page.items() if number}
    assert found == {
        "input": 940, "output": 480, "cached": 10, "cache_write": 20, "cache_write_1h": 10,
        "reasoning": 10, "audio_in": 10, "audio_out": 10, "image_in": 10,
    }  # fmt: skip
    assert sum(found.values()) == 1_500


def test_every_type_of_tokens_begins_at_0_with_the_integration(
    client: Client, integration: CusIntegration
) -> None:
    page = scraped(client)["cus_llm_tokens_total"]
    assert len(page) == len(TOKEN_NAMES)
    assert {*page.values()} == {0}


def test_calls_without_price_or_usage_have_counters(
    client: Client, sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report_batch(record(model="nobody-knows-this"), unmeasured(), record(cost_cents=77))
    page = scraped(client)
    whose = {"integration_id": str(integration.id)}
    assert value(page["cus_llm_unpriced_calls_total"], **whose) == 1
    assert value(page["cus_llm_unmeasured_calls_total"], **whose) == 1
    assert value(page["cus_llm_cost_mismatch_total"], **whose) == 1


# --- Models -------------------------------------------------------------------------------------


def test_models_beyond_the_bound_share_a_series_and_never_leave_it(
    client: Client, sdk: SdkClient, integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_METRICS_MODELS = 2
    sdk.report_batch(record(model="m-2"), record(model="m-3"))
    own = {dict(key)["model"] for key in scraped(client)["cus_llm_calls_total"]}
    assert own == {"m-2", "m-3", "other"}

    # A name that sorts before the others has no place any more.
    sdk.report_batch(record(model="m-1"), record(model="m-1"), record(model="m-2"))
    page = scraped(client)
    calls = {dict(key)["model"]: number for key, number in page["cus_llm_calls_total"].items()}
    assert calls == {"m-2": 2, "m-3": 1, "other": 2}
    assert value(page["cus_llm_other_models"], integration_id=str(integration.id)) == 1
    assert CusModelSeries.objects.count() == 2


def test_all_integrations_together_have_a_bound_of_models_too(
    client: Client, sdk: SdkClient, settings: Settings
) -> None:
    settings.CUS_METRICS_MODELS_IN_ALL = 3
    other = SdkClient.of(make_integration())
    sdk.report_batch(record(model="a"), record(model="b"))
    other.report_batch(record(model="c"), record(model="d"))
    assert len(scraped(client)["cus_llm_calls_total"]) == 3 + 2
    assert value(scraped(client)["cus_llm_calls_total"]) == 4


def test_a_program_that_makes_models_up_takes_no_place_of_others(
    client: Client, sdk: SdkClient, settings: Settings
) -> None:
    settings.CUS_METRICS_MODELS, settings.CUS_METRICS_MODELS_IN_ALL = 2, 3
    for number in range(6):
        sdk.report(record(model=f"a-{number}"))
    SdkClient.of(make_integration()).report(record(model="z"))
    assert value(scraped(client)["cus_llm_calls_total"], model="z") == 1


def test_absurd_amounts_of_one_program_end_nobodys_scrape(
    client: Client, sdk: SdkClient, integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_METRICS_MODELS = 1
    sdk.report_batch(record(), record(model="gpt-4o-mini"), record(model="o3"))
    as_much_as_it_holds = 2**63 - 1
    CusLifetimeTotals.objects.filter(integration_id=integration.id).update(
        cost_microcents=as_much_as_it_holds, counted_cents=as_much_as_it_holds
    )
    # Two of the three share a series, which stays at what a total can hold.
    assert value(scraped(client)["cus_llm_cost_counted_cents_total"]) == 2 * as_much_as_it_holds


def test_a_model_that_calls_itself_other_shares_the_series(client: Client, sdk: SdkClient) -> None:
    sdk.report_batch(record(provider="other", model="other"), record(model="gpt-4o"))
    calls = scraped(client)["cus_llm_calls_total"]
    assert (value(calls, model="other"), len(calls)) == (1, 2)


def test_bounds_that_are_lowered_take_no_series_away(
    client: Client, sdk: SdkClient, settings: Settings
) -> None:
    sdk.report_batch(record(model="a"), record(model="b"))
    before = scraped(client)["cus_llm_calls_total"]
    settings.CUS_METRICS_MODELS = 1
    sdk.report(record(model="c"))
    after = scraped(client)["cus_llm_calls_total"]
    assert before.keys() == after.keys()
    assert value(after, model="other") == 1


# --- How calls ended ----------------------------------------------------------------------------


def test_errors_are_counted_by_codes_that_are_few(client: Client, sdk: SdkClient) -> None:
    sdk.report_batch(
        record(), record(error_code="RateLimitError"), record(error_code="made-up-by-a-program"),
        record(policy_result="blocked", tokens_in=0, tokens_out=0, cost_cents=0,
               error_code="budget_exceeded"),
    )  # fmt: skip
    page = scraped(client)["cus_llm_errors_total"]
    codes = {dict(key)["error_code"]: number for key, number in page.items()}
    assert codes == {"RateLimitError": 1, "other": 1}


def test_policy_results_are_those_of_the_records(client: Client, sdk: SdkClient) -> None:
    sdk.report_batch(
        record(), record(policy_result="warned"), record(policy_result="warned"),
        record(policy_result="blocked", tokens_in=0, tokens_out=0, cost_cents=0),
    )  # fmt: skip
    page = scraped(client)["cus_policy_results_total"]
    results = {dict(key)["result"]: number for key, number in page.items()}
    assert results == {"allowed": 1, "warned": 2, "blocked": 1}


def test_latencies_are_a_histogram_of_calls_that_ran(client: Client, sdk: SdkClient) -> None:
    sdk.report_batch(
        *(record(latency_ms=ms) for ms in (0, 100, 101, 1_999, 600_000)), record(latency_ms=None),
        record(policy_result="blocked", tokens_in=0, tokens_out=0, cost_cents=0, latency_ms=5),
    )  # fmt: skip
    page = scraped(client)
    buckets = {
        dict(key)["le"]: number for key, number in page["cus_llm_latency_seconds_bucket"].items()
    }
    assert buckets["0.1"] == 2
    assert buckets["0.3"] == buckets["1"] == 3
    assert buckets["2"] == buckets["120"] == 4
    assert buckets["+Inf"] == value(page["cus_llm_latency_seconds_count"]) == 5
    assert value(page["cus_llm_latency_seconds_sum"]) == 602.2
    assert len(buckets) == len(BOUNDS_MS) + 1


def test_a_replay_is_no_second_outcome(sdk: SdkClient) -> None:
    sent = record(error_code="RateLimitError")
    sdk.report(sent)
    sdk.report(sent)
    assert sum(CusOutcomeTotals.objects.values_list("calls", flat=True)) == 1


def test_the_migration_counts_by_the_same_codes() -> None:
    text = (ROOT / "telemetry/migrations/0024_cus_outcome_totals.py").read_text()
    # Codes that came later: no row that the migration counts can have them.
    text += (ROOT / "enforcement/migrations/0006_cus_scope_reasons.py").read_text()
    assert [code for code in ERROR_CODES if f'"{code}"' not in text] == []


# --- Decisions ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_reasons_are_counted_by_the_log_itself(
    client: Client, sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(status="disabled")
    for number in range(3):
        sdk.check(f"call-{number}")
    page = scraped(client)
    whose = {"integration_id": str(integration.id)}
    logged = Counter(CusEnforcementDecision.objects.values_list("reason", flat=True))
    assert logged == {"integration_disabled": 3}
    assert value(page["cus_enforcement_blocked_total"], **whose, reason="integration_disabled") == 3
    assert value(page["cus_enforcement_blocked_total"], **whose) == 3
    assert value(page["cus_enforcement_state"], **whose, enforcement_state="hard_block") == 1


def test_a_reason_that_nobody_knows_is_other(
    client: Client, sdk: SdkClient, integration: CusIntegration
) -> None:
    CusEnforcementDecision.objects.create(
        id=uuid.uuid4(), tenant_id=integration.tenant_id, integration_id=integration.id,
        call_id="c", result="blocked", reason="made-up", degraded=False, decided_by="sdk",
        facts={}, reasons=[], evaluated_at=timezone.now(), created_at=timezone.now(),
    )  # fmt: skip
    assert [*CusDecisionReasons.objects.values_list("reason", "decisions")] == [("other", 1)]
    assert value(scraped(client)["cus_enforcement_blocked_total"], reason="other") == 1


def test_the_log_counts_every_reason_that_this_release_knows() -> None:
    """A new code needs a migration that replaces `cus_count_reasons`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = 'cus_count_reasons'")
        (source,) = cursor.fetchone()
    assert [code for code in CusReasonCode if f"'{code}'" not in source] == []


# --- Integrations -------------------------------------------------------------------------------


def test_budget_tokens_and_rate_stand_beside_their_limits(
    client: Client, sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(
        budget_limit_cents=100, token_limit_month=15_000, rate_limit_rpm=10
    )
    sdk.report_batch(record(cost_cents=40), record(cost_cents=40))
    page = scraped(client)
    found = {
        name: value(page[f"cus_integration_{name}"], integration_id=str(integration.id))
        for name in (
            "budget_used_cents", "budget_limit_cents", "budget_utilization_ratio",
            "tokens_used_month", "token_limit_month", "token_utilization_ratio",
            "rate_current_rpm", "rate_limit_rpm", "rate_utilization_ratio",
        )
    }  # fmt: skip
    assert [*found.values()] == [80, 100, 0.8, 3_000, 15_000, 0.2, 2, 10, 0.2]


def test_an_exact_budget_is_used_by_microcents(
    client: Client, sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(
        budget_limit_cents=100, budget_basis="exact"
    )
    sdk.report(record())  # 0.75 cents
    page = scraped(client)
    assert value(page["cus_integration_budget_used_cents"]) == 0.75


def test_states_are_numbers(client: Client, integration: CusIntegration) -> None:
    CusIntegration.objects.filter(id=integration.id).update(
        status="error", health_state="failing", credential_state="invalid"
    )
    page = scraped(client)
    states = [
        value(page[f"cus_integration_{name}"])
        for name in ("status", "health_state", "credential_state")
    ]
    assert states == [3, 3, 2]


def test_a_deleted_integration_keeps_its_counters_for_a_day(
    client: Client, sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(record())
    now = timezone.now()
    CusIntegration.objects.filter(id=integration.id).update(deleted_at=now)
    assert value(scraped(client)["cus_llm_calls_total"]) == 1
    assert "cus_integration_status" not in scraped(client)
    CusIntegration.objects.filter(id=integration.id).update(deleted_at=now - timedelta(days=2))
    assert "cus_llm_calls_total" not in scraped(client)


def test_missing_records_are_counted_and_those_on_their_way_are_not(
    client: Client, sdk: SdkClient
) -> None:
    def sent(*numbers: int) -> None:
        sdk.report_batch(*(record(process_id="p", sequence=number) for number in numbers))

    sent(1, 2, 5)
    fold_sequences(timezone.now())
    assert value(scraped(client)["cus_llm_gap_events"]) == 2
    sent(3, 4, 9)
    # Sequences 6 to 8 may be on their way until the next fold.
    fold_sequences(timezone.now())
    assert value(scraped(client)["cus_llm_undeclared_gap_events"]) == 3


def test_a_forecast_needs_a_day_of_history(client: Client, sdk: SdkClient) -> None:
    sdk.report(record())
    assert keep_forecasts(timezone.now()) == 0
    assert "cus_integration_cost_forecast_cents" not in scraped(client)
