"""What calls teach: how long outputs are, and which models answer to which names (ruling F3b)."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from enforcement.cus_learning import lessons
from enforcement.cus_learning.lessons import learn
from enforcement.cus_learning.models import CusAnsweringModel, CusLearnedOutput
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import database_now
from telemetry.cus_holds.models import CusEnforcementHold
from tests.conftest import as_if
from tests.cus_factories import ENFORCEMENT, SdkClient, make_integration, record, unmeasured

pytestmark = pytest.mark.django_db(transaction=True)

# gpt-4o's context window and the most that it may write.
WINDOW, BOUND = 128_000, 16_384


def learn_all(days_later: float = 0) -> None:
    """Learn from all that was reported until now."""
    learn(
        database_now() + timedelta(minutes=1, days=days_later),
        within=timedelta(seconds=30),
    )


def report(sdk: SdkClient, outputs: list[int], **fields: Any) -> None:
    """Report a call for each output, in their order."""
    for start in range(0, len(outputs), 500):
        answer = sdk.report_batch(
            *(
                record(tokens_out=tokens, cost_cents=None, operation="chat", **fields)
                for tokens in outputs[start : start + 500]
            )
        )
        assert answer.json()["accepted"] == len(outputs[start : start + 500])


def version_of(integration: CusIntegration) -> int:
    return CusIntegration.objects.get(id=integration.id).config_version


def held(sdk: SdkClient, **fields: Any) -> tuple[int, int]:
    """The tokens and the microcents that a check holds which estimates nothing itself."""
    unsaid = {"estimated_tokens": None, "estimated_cost_cents": None}
    answer = sdk.check(**unsaid | fields).json()
    assert answer["result"] == "allowed", answer["reasons"]
    hold = CusEnforcementHold.objects.get(call_id=answer["call_id"])
    return hold.tokens, hold.microcents


@pytest.fixture
def learning(limited: CusIntegration) -> CusIntegration:
    """`limited`, whose calls are held for by what was learned."""
    return CusIntegrationService(limited.tenant).change(limited.id, estimate_basis="learned")


def estimates() -> dict[str, int | None]:
    return dict(CusLearnedOutput.objects.values_list("model", "estimate_tokens"))


def test_a_call_is_held_for_with_a_quarter_more_than_nearly_all_outputs(
    learning: CusIntegration, sdk: SdkClient
) -> None:
    assert held(sdk)[0] == WINDOW + BOUND
    report(sdk, list(range(1, 200)))
    before = version_of(learning)

    learn_all()

    assert estimates() == {"gpt-4o": 249}  # 1.25 times 199, rounded up
    assert version_of(learning) == before + 1
    config = sdk.client.get(f"{ENFORCEMENT}/config").json()
    assert config["estimate_basis"] == "learned"
    assert config["learned_outputs"] == [
        {"model": "gpt-4o", "operation": "chat", "output_tokens": 249, "calls": 199}
    ]


def test_the_servers_missing_estimate_is_by_what_was_learned_and_never_above_the_bound(
    learning: CusIntegration, sdk: SdkClient
) -> None:
    report(sdk, [200] * 100)
    learn_all()
    assert held(sdk) == (WINDOW + 250, WINDOW * 250 + 250 * 1_000)


@pytest.mark.parametrize(("output", "expected"), [(200, 250), (16_000, BOUND)])
def test_never_above_the_bound(
    learning: CusIntegration, sdk: SdkClient, output: int, expected: int
) -> None:
    report(sdk, [output] * 100)
    learn_all()
    assert held(sdk)[0] == WINDOW + expected


def test_the_other_bases_hold_the_bound_whatever_was_learned(
    limited: CusIntegration, sdk: SdkClient
) -> None:
    report(sdk, [200] * 100)
    before = version_of(limited)
    learn_all()

    assert estimates() == {"gpt-4o": 250}
    assert held(sdk)[0] == WINDOW + BOUND
    assert version_of(limited) == before
    assert sdk.client.get(f"{ENFORCEMENT}/config").json()["learned_outputs"] == []


def test_fewer_than_a_hundred_calls_teach_nothing(learning: CusIntegration, sdk: SdkClient) -> None:
    report(sdk, [200] * 99)
    learn_all()
    assert estimates() == {"gpt-4o": None}
    report(sdk, [300])
    learn_all()
    assert estimates() == {"gpt-4o": 375}


def test_only_calls_that_ended_well_and_told_their_usage_teach(
    learning: CusIntegration, sdk: SdkClient
) -> None:
    report(sdk, [200] * 100)
    report(sdk, [9_000], error_code="APIConnectionError")
    sdk.report(unmeasured(model="gpt-4o"))
    blocked = {"tokens_in": 0, "tokens_out": 0, "cost_cents": 0, "error_code": "cus_throttled"}
    sdk.report(record(policy_result="blocked", **blocked))

    learn_all()

    assert estimates() == {"gpt-4o": 250}
    assert len(CusLearnedOutput.objects.get().outputs) == 100


def test_the_last_thousand_calls_count_and_no_run_counts_one_twice(
    learning: CusIntegration, sdk: SdkClient
) -> None:
    report(sdk, [8_000] * 10)
    report(sdk, [100] * 500)
    learn_all()
    learn_all()
    assert estimates() == {"gpt-4o": 10_000}
    assert len(CusLearnedOutput.objects.get().outputs) == 510

    report(sdk, [100] * 500)
    learn_all()

    known = CusLearnedOutput.objects.get()
    assert (len(known.outputs), known.outputs.count(8_000)) == (1_000, 0)
    assert estimates() == {"gpt-4o": 125}


def test_an_estimate_rises_at_once_and_falls_by_a_tenth_or_more(
    learning: CusIntegration, sdk: SdkClient
) -> None:
    report(sdk, [1_000] * 100)
    learn_all()
    for output, expected in ((1_004, 1_255), (940, 1_255), (2_000, 2_500)):
        report(sdk, [output] * (1_000 if output == 940 else 1))
        before = version_of(learning)
        learn_all()
        assert estimates() == {"gpt-4o": expected}
        assert (version_of(learning) > before) == (output != 940)
    report(sdk, [800] * 1_000)
    learn_all()
    assert estimates() == {"gpt-4o": 1_000}


def test_days_without_calls_are_passed_at_a_few_looks_and_no_call_between_is_missed(
    learning: CusIntegration, sdk: SdkClient
) -> None:
    now = database_now()
    for number, days in enumerate((6.9, 4, 3.99, 0.5, 0)):
        report(sdk, [number + 1])
        came = now - timedelta(days=days)
        as_if(f"UPDATE cus_llm_usage SET created_at = '{came}' WHERE tokens_out = {number + 1}")

    with CaptureQueriesContext(connection) as asked:
        learn_all()

    assert CusLearnedOutput.objects.get().outputs == [5, 4, 3, 2, 1]
    # 168 steps of an hour were some 1,700 statements.
    assert len(asked) < 400


# --- Names that only answers explain ------------------------------------------------------------


def azure(**fields: Any) -> tuple[CusIntegration, SdkClient]:
    integration = make_integration(
        provider_type="azure_openai", budget_limit_cents=1_000_000, **fields
    )
    return integration, SdkClient.of(integration)


def codes(sdk: SdkClient, **fields: Any) -> list[str]:
    answer = sdk.check(estimated_cost_cents=None, **fields).json()
    return [reason["code"] for reason in answer["reasons"]]


def test_a_deployment_is_estimated_as_the_dearest_model_that_answered_to_it() -> None:
    _, sdk = azure(default_model="gpt-4o-mini")
    assert held(sdk, model="prod-chat") == held(sdk, model="gpt-4o-mini")
    for model in ("gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"):
        report(sdk, [10], model=model, model_requested="prod-chat")

    learn_all()

    assert held(sdk, model="prod-chat") == held(sdk, model="gpt-4o-2024-08-06")
    config = sdk.client.get(f"{ENFORCEMENT}/config").json()
    assert config["answering_models"] == [
        {"name": "prod-chat", "models": ["gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18"]}
    ]


def test_a_deployment_that_nobody_explains_is_refused_and_told_what_to_set() -> None:
    integration, sdk = azure()
    answer = sdk.check(model="prod-chat", estimated_cost_cents=None).json()
    assert answer["reasons"][0]["code"] == "model_unpriced"
    assert "set default_model" in answer["reasons"][0]["action"]

    report(sdk, [10], model="gpt-4o", model_requested="prod-chat")
    before = version_of(integration)
    learn_all()

    assert version_of(integration) == before + 1
    assert codes(sdk, model="prod-chat") == ["all_checks_passed"]


def test_what_answered_more_than_seven_days_ago_explains_nothing() -> None:
    integration, sdk = azure()
    report(sdk, [10], model="gpt-4o", model_requested="prod-chat")
    learn_all()
    assert codes(sdk, model="prod-chat") == ["all_checks_passed"]
    before = version_of(integration)

    learn_all(days_later=7.1)

    assert version_of(integration) == before + 1
    assert codes(sdk, model="prod-chat") == ["model_unpriced"]


def test_a_default_model_that_is_a_deployment_is_explained_too() -> None:
    _, sdk = azure(default_model="prod-chat")
    report(sdk, [10], model="gpt-4o", model_requested="prod-chat")
    learn_all()

    expected = held(sdk, model="gpt-4o")
    assert held(sdk, model=None) == held(sdk, model="next-chat") == expected


def test_where_the_provider_names_the_models_the_default_explains_no_unknown_one(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(
        budget_limit_cents=100, default_model="gpt-4o-mini"
    )
    assert codes(sdk, model="nobody-knows") == ["model_unpriced"]


def test_an_integration_keeps_the_names_that_it_used_last(
    sdk: SdkClient, integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons, "MOST_NAMES", 3)
    monkeypatch.setattr(
        lessons,
        "_FORGET_MOST",
        (
            lessons._forget_most("cus_learned_outputs", "model, operation", "last_call_at"),
            lessons._forget_most("cus_answering_models", "name, model", "last_answered_at"),
        ),
    )
    for number in range(5):
        report(sdk, [10], model="gpt-4o", model_requested=f"name-{number}")

    learn_all()

    kept = {"name-2", "name-3", "name-4"}
    assert set(CusAnsweringModel.objects.values_list("name", flat=True)) == kept
    assert set(CusLearnedOutput.objects.values_list("model", flat=True)) == kept
