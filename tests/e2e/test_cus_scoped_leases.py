"""The SDK with limits at scopes of the real server: leases by names, refusals, and a resume."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx2
import openai
import pytest
from django.utils import timezone

from aos_sdk import (
    CusBlocked,
    CusReporter,
    cus_configure,
    cus_context,
    cus_install_middleware,
    cus_shutdown,
    cus_uninstall_middleware,
)
from aos_sdk.cus_configuration import active
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from tests.cus_limits import make_limit
from tests.e2e.cus_run_program import COST_CENTS, MODEL, PROMPT, TOKENS_OUT, answer
from tests.e2e.cus_served import ServedProduct

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client() -> Iterator[openai.OpenAI]:
    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    with openai.OpenAI(
        api_key="k", base_url="https://api.openai.com/v1", http_client=transport
    ) as made:
        yield made
    cus_uninstall_middleware()
    cus_shutdown(5.0)
    active.replace(None)


@pytest.fixture
def configure(integration: CusIntegration, product: ServedProduct) -> Callable[[], CusReporter]:
    """Begins a program of the integration's."""

    def begin() -> CusReporter:
        _, key = issue_sdk_key(integration)
        cus_install_middleware()
        return cus_configure(key, product.base_url, batch_interval=0.05, contention_seconds=60.0)

    return begin


def _ask(client: openai.OpenAI) -> bool:
    """Whether a call of $0.18 ran."""
    messages: Any = [{"role": "user", "content": PROMPT}]
    try:
        client.chat.completions.create(model=MODEL, messages=messages, max_tokens=TOKENS_OUT)
    except CusBlocked:
        return False
    return True


def test_each_agent_spends_its_own_limit_by_leases_of_its_own(
    configure: Callable[[], CusReporter], integration: CusIntegration, client: openai.OpenAI
) -> None:
    make_limit(integration, "agent_id", None, amount=2_000, window="day")
    reporter = configure()
    ran = {"one": 0, "two": 0}
    for _ in range(130):
        for agent in ran:
            with cus_context(agent_id=agent):
                ran[agent] += _ask(client)
    assert reporter.flush(20.0) == 0
    rows = CusLLMUsage.objects.filter(integration_id=integration.id)
    for agent, calls in ran.items():
        of_agent = [row for row in rows if row.agent_id == agent and row.policy_result != "blocked"]
        spent = sum(row.counted_cents or 0 for row in of_agent)
        assert (len(of_agent), spent) == (calls, calls * COST_CENTS)
        assert 2_000 - 2 * COST_CENTS < spent <= 2_000
        leases = {row.lease_id for row in of_agent if row.lease_id}
        others = {row.lease_id for row in rows if row.lease_id and row.agent_id != agent}
        assert leases
        assert not leases & others


def test_a_refused_session_goes_on_once_a_person_has_raised_its_limit(
    configure: Callable[[], CusReporter], integration: CusIntegration, client: openai.OpenAI
) -> None:
    limit = make_limit(integration, "session_id", None, amount=50, window="life")
    reporter = configure()
    with cus_context(session_id="chat-17"):
        assert [_ask(client) for _ in range(3)] == [True, True, False]
        assert reporter.flush(20.0) == 0
        with pytest.raises(CusBlocked) as refused:
            client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": PROMPT}], max_tokens=TOKENS_OUT
            )
        error = refused.value
        assert error.limit_id == str(limit.id)
        assert (error.scope, error.scope_value, error.window) == ("session_id", "chat-17", "life")
        assert (error.unit, error.left, error.resets_at) == ("cents", 50 - 2 * COST_CENTS, None)
        make_limit(
            integration,
            "session_id",
            "chat-17",
            amount=85,
            window="life",
            valid_until=timezone.now() + timedelta(hours=1),
        )
        assert [_ask(client) for _ in range(3)] == [True, True, False]


def test_a_limit_that_comes_binds_the_holders_of_leases_within_their_life(
    configure: Callable[[], CusReporter], integration: CusIntegration, client: openai.OpenAI
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=1_000_000)
    reporter = configure()
    assert reporter.decider is not None
    book = reporter.decider.book
    with cus_context(agent_id="one"):
        until = time.monotonic() + 30
        while book.current is None and time.monotonic() < until:
            assert _ask(client)
        assert book.current is not None
        make_limit(integration, "agent_id", "one", amount=1, window="day")
        until = time.monotonic() + 30
        while _ask(client):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert not _ask(client)
    with cus_context(agent_id="two"):
        assert _ask(client)
