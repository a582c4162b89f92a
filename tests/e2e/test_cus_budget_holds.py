"""A budget holds for programs that use the SDK, over real processes (§6.2, ruling F5)."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from openai import OpenAI

from aos_project.cus_demo.cus_limited_run import CALLS, LimitedRun
from aos_project.cus_demo.cus_local_provider import LocalProvider, prompt_for
from aos_project.cus_demo.cus_trace import synthetic_trace
from aos_sdk import (
    CusBlocked,
    CusHardBlocked,
    cus_configure,
    cus_install_middleware,
    cus_shutdown,
    cus_uninstall_middleware,
)
from aos_sdk.cus_configuration import active
from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage, CusPeriodTotals
from telemetry.cus_holds.models import CusEnforcementHold
from tests.cus_factories import make_user, signed_in
from tests.e2e.cus_served import ServedProduct, serving

pytestmark = pytest.mark.django_db(transaction=True)
TRACE = synthetic_trace()
LIMIT_CENTS = 20


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    """A provider that bills the prompts' tokens and the answers' of the trace."""
    with serving([(call.tokens_in, call.tokens_out) for call in TRACE.calls]) as server:
        yield server


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    cus_uninstall_middleware()
    cus_shutdown(5.0)
    active.replace(None)


@pytest.fixture
def limited(integration: CusIntegration) -> CusIntegration:
    integration.budget_limit_cents = LIMIT_CENTS
    integration.enforcement_level = "block"
    integration.save()
    return integration


def _used(integration: CusIntegration) -> int:
    totals = CusPeriodTotals.objects.filter(integration_id=integration.id)
    return sum(total.counted_cents for total in totals)


def test_threads_that_race_for_a_budget_never_pass_it(
    limited: CusIntegration, product: ServedProduct, provider: LocalProvider
) -> None:
    _, key = issue_sdk_key(limited)
    reporter = cus_configure(key, product.base_url, batch_interval=0.05, contention_seconds=20.0)
    cus_install_middleware()

    with OpenAI(api_key="k", base_url=provider.base_url, max_retries=0) as client:

        def call(number: int) -> bool:
            one = TRACE.calls[number]
            try:
                client.chat.completions.create(
                    model="gpt-4o",
                    max_tokens=max(one.tokens_out, 1),
                    messages=[{"role": "user", "content": prompt_for(number, one.tokens_in)}],
                )
            except CusBlocked:
                return False
            return True

        numbers = random.Random(5).sample(range(len(TRACE.calls)), 120)
        with ThreadPoolExecutor(8) as threads:
            ran = sum(threads.map(call, numbers))
    assert reporter.flush(20.0) == 0

    assert _used(limited) <= LIMIT_CENTS
    assert _used(limited) > 0
    rows = CusLLMUsage.objects.filter(integration_id=limited.id)
    assert rows.exclude(policy_result="blocked").count() == ran
    assert rows.filter(policy_result="blocked").count() == 120 - ran
    assert not CusEnforcementHold.objects.filter(integration_id=limited.id).exists()


def test_a_refusals_link_leads_to_the_decision_in_the_console(
    limited: CusIntegration, product: ServedProduct, provider: LocalProvider
) -> None:
    _, key = issue_sdk_key(limited)
    run = LimitedRun()
    for _ in run.run(TRACE, key=key, base_url=product.base_url, provider_url=provider.base_url):
        pass
    assert (run.ran + run.refused, run.undelivered) == (CALLS, 0)
    assert min(run.ran, run.refused) > 0
    assert _used(limited) <= LIMIT_CENTS

    path = run.last_refusal.rpartition("See ")[2].removeprefix(product.base_url)
    console = signed_in(make_user("operator"))
    page = console.get(path, follow=True)
    assert page.status_code == 200
    call_id = path.rpartition("/")[2].partition("?")[0]
    assert call_id in page.content.decode()
    assert CusEnforcementDecision.objects.filter(call_id=call_id, result="blocked").exists()


def test_a_disabled_integration_refuses_and_an_enabled_one_serves_again(
    integration: CusIntegration, product: ServedProduct, provider: LocalProvider
) -> None:
    _, key = issue_sdk_key(integration)
    cus_configure(key, product.base_url, batch_interval=0.05)
    cus_install_middleware()
    with OpenAI(api_key="k", base_url=provider.base_url, max_retries=0) as client:

        def call() -> None:
            client.chat.completions.create(
                model="gpt-4o", max_tokens=9, messages=[{"role": "user", "content": "call 1"}]
            )

        CusIntegration.objects.filter(id=integration.id).update(status="disabled")
        with pytest.raises(CusHardBlocked, match="disabled"):
            call()
        CusIntegration.objects.filter(id=integration.id).update(status="enabled")
        call()
    assert cus_shutdown(20.0) == 0
    assert sorted(
        CusLLMUsage.objects.filter(integration_id=integration.id).values_list(
            "policy_result", flat=True
        )
    ) == ["allowed", "blocked"]
